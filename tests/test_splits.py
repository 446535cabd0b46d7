"""Which image is for what."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.data.splits import stratified_split, train_val_test


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 2**32 - 1))
def test_each_image_is_in_one_part_and_each_class_in_the_first(labels, seed):
    labels = np.array(labels)
    parts = stratified_split(labels, (0.7, 0.1, 0.2), seed)
    np.testing.assert_array_equal(
        np.sort(np.concatenate(parts)), np.arange(len(labels))
    )
    assert set(labels[parts[0]]) == set(labels)


def test_each_class_is_split_in_the_same_proportions():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    train, val, test = stratified_split(labels, (0.7, 0.1, 0.2), seed=0)
    np.testing.assert_array_equal(np.bincount(labels[train]), [70, 35, 7])
    np.testing.assert_array_equal(np.bincount(labels[val]), [10, 5, 1])
    np.testing.assert_array_equal(np.bincount(labels[test]), [20, 10, 2])


def test_the_seed_decides():
    labels = np.repeat([0, 1], 50)
    first, again, other = (
        stratified_split(labels, (0.5, 0.5), seed)[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_training_and_a_test_split_leave_the_test_alone():
    labels = np.tile(np.arange(2), 20)
    splits = {"train": range(0, 20), "test": range(20, 40)}
    train, val, test = train_val_test(splits, labels, seed=0)
    np.testing.assert_array_equal(test, np.arange(20, 40))
    np.testing.assert_array_equal(np.sort([*train, *val]), np.arange(20))
    assert len(val) == 2


def test_a_validation_split_alone_is_the_test():
    labels = np.tile(np.arange(2), 20)
    splits = {"train": range(0, 20), "val": range(20, 40)}
    train, val, test = train_val_test(splits, labels, seed=0)
    np.testing.assert_array_equal(test, np.arange(20, 40))
    np.testing.assert_array_equal(np.sort([*train, *val]), np.arange(20))


def test_three_splits_stay_as_they_are_without_unreadable_images():
    labels = np.array([0, 1, -1, 0, 1, 0, -1])
    splits = {"train": range(0, 3), "val": range(3, 5), "test": range(5, 7)}
    train, val, test = train_val_test(splits, labels, seed=0)
    assert (list(train), list(val), list(test)) == ([0, 1], [3, 4], [5])
