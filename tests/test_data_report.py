"""What is said about a data set."""

import pytest

from train.data.remarks import imbalance


def test_classes_of_very_different_size_are_named():
    counts = {"b": 480, "a": 12, "c": 100}
    assert imbalance(counts) == (
        "classes differ in size: 12 ('a') to 480 ('b') training images, median 100"
    )


def test_a_ratio_of_three_is_reported_and_less_is_not():
    assert "median 20" in imbalance({"a": 10, "b": 30})
    assert imbalance({"a": 10, "b": 29}) is None


def test_the_median_of_an_even_number_of_classes_is_in_their_middle():
    assert imbalance({"a": 1, "b": 2, "c": 3, "d": 9}).endswith("median 2.5")


def test_large_classes_keep_all_digits():
    line = imbalance({"a": 1, "b": 1_234_567, "c": 7_654_321})
    assert line.endswith("7654321 ('c') training images, median 1234567")


@pytest.mark.parametrize("counts", [{}, {"a": 5}, {"a": 0, "b": 0}, {"a": 7, "b": 7}])
def test_nothing_is_said_of_equal_classes(counts):
    assert imbalance(counts) is None


def test_names_with_line_breaks_stay_on_one_line():
    assert "\n" not in imbalance({"a\nb": 1, "c": 3})
