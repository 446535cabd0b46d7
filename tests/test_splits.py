"""Which image is for what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.splits import paper_split, stratified_split, train_val_test


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


@pytest.mark.parametrize("count", [2, 3, 4, 8, 14, 25, 49])
def test_many_small_classes_have_their_share_in_each_part(count):
    """1,000 classes; one by one, those of 3 would have no validation image at all."""
    labels = np.repeat(np.arange(1000), count)
    parts = stratified_split(labels, (0.7, 0.1, 0.2), seed=0)
    assert [len(part) for part in parts] == [700 * count, 100 * count, 200 * count]
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        of_class = np.bincount(labels[part], minlength=1000)
        assert abs(of_class - share * count).max() < 2
    assert np.bincount(labels[parts[0]], minlength=1000).min() >= 1


def test_those_that_give_to_two_parts_are_not_always_the_first_classes():
    labels = np.repeat(np.arange(1000), 3)
    _, val, test = stratified_split(labels, (0.7, 0.1, 0.2), seed=0)
    assert not set(labels[val]) & set(labels[test])
    for part in (val, test):
        assert 400 < labels[part].mean() < 600


def test_few_small_classes_beside_large_ones_are_dealt_out_too():
    labels = np.concatenate([np.zeros(1000, int), np.repeat(np.arange(1, 31), 3)])
    train, val, test = stratified_split(labels, (0.7, 0.1, 0.2), seed=0)
    assert [np.sum(labels[part] > 0) for part in (train, val, test)] == [63, 9, 18]
    assert [np.sum(labels[part] == 0) for part in (train, val, test)] == [700, 100, 200]


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([2, 2], [2, 1, 1]),
        ([1, 3], [2, 1, 1]),
        ([1, 2], [2, 0, 1]),
        ([1, 1], [2, 0, 0]),
    ],
)
def test_each_part_has_an_image_where_the_classes_leave_one(counts, sizes):
    labels = np.repeat(np.arange(2), counts)
    parts = stratified_split(labels, (0.7, 0.1, 0.2), seed=0)
    assert [len(part) for part in parts] == sizes
    assert set(labels[parts[0]]) == {0, 1}


def test_large_classes_are_split_as_published_results_had_them():
    """The digits, whose shares are not whole: number, ends and sum of the indices."""
    from sklearn.datasets import load_digits

    parts = stratified_split(load_digits().target, (0.7, 0.1, 0.2), seed=0)
    assert [(len(p), p[0], p[-1], p.sum()) for p in parts] == [
        (1258, 0, 1794, 1131033),
        (180, 1, 1795, 157692),
        (359, 5, 1796, 324981),
    ]


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


# Label, -1 for an image to leave out, and photograph of each image.
crops = st.lists(
    st.tuples(st.integers(-1, 3), st.integers(0, 12)), min_size=2, max_size=60
)


@given(crops, st.data(), st.integers(0, 2**32 - 1))
def test_no_photograph_is_trained_on_and_tested(crops, data, seed):
    labels, photographs = np.array(crops).T
    first = data.draw(st.integers(1, len(crops) - 1))
    splits = {"train": range(first), "test": range(first, len(crops))}
    parts = train_val_test(splits, labels, seed, photographs)
    of_parts = [set(photographs[part]) for part in parts]
    assert not of_parts[0] & of_parts[1]
    assert not (of_parts[0] | of_parts[1]) & of_parts[2]
    readable = np.flatnonzero(labels >= 0)
    expected = readable[readable >= first]
    np.testing.assert_array_equal(parts[2], expected)  # the test stays as it is
    # All others but those of a photograph of the test.
    rest = [i for i in readable if i < first and photographs[i] not in of_parts[2]]
    np.testing.assert_array_equal(np.sort([*parts[0], *parts[1]]), rest)


@given(crops, st.integers(0, 2**32 - 1))
def test_no_photograph_of_a_pool_is_in_two_parts(crops, seed):
    labels, photographs = np.array(crops).T
    parts = train_val_test({"all": range(len(crops))}, labels, seed, photographs)
    together = np.sort(np.concatenate(parts))
    np.testing.assert_array_equal(together, np.flatnonzero(labels >= 0))
    of_parts = [set(photographs[part]) for part in parts]
    assert sum(map(len, of_parts)) == len(set.union(*of_parts))


@given(crops, st.booleans(), st.integers(0, 2**32 - 1))
def test_images_with_a_photograph_each_are_split_as_ever(crops, pool, seed):
    labels = np.array(crops)[:, 0]
    half = len(labels) // 2
    splits = {"train": range(half), "test": range(half, len(labels))}
    splits = {"all": range(len(labels))} if pool else splits
    names = np.array([f"{number:03}.jpg" for number in range(len(labels))])
    for part, same in zip(
        train_val_test(splits, labels, seed),
        train_val_test(splits, labels, seed, names),
        strict=True,
    ):
        np.testing.assert_array_equal(part, same)


def test_held_out_are_photographs_of_each_class():
    """100 photographs of each of two classes, with three leaves each."""
    photographs = np.repeat(np.arange(200), 3)
    labels = photographs % 2
    splits = {"train": range(600), "test": range(600, 600)}
    train, val, _ = train_val_test(splits, labels, 0, photographs)
    np.testing.assert_array_equal(np.bincount(labels[val]), [30, 30])
    np.testing.assert_array_equal(np.bincount(labels[train]), [270, 270])


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=80), st.integers(0, 2**32 - 1))
def test_the_papers_parts_are_of_each_class_65_15_and_20_percent(labels, seed):
    labels = np.array(labels)
    parts = paper_split(labels, seed)
    for label in set(labels[labels >= 0]):
        count = np.sum(labels == label)
        val, test = int(0.65 * count), int(0.8 * count)
        sizes = [np.sum(labels[part] == label) for part in parts]
        assert sizes == [val, test - val, count - test]
    used = np.sort(np.concatenate([[], *parts]))
    np.testing.assert_array_equal(used, np.flatnonzero(labels >= 0))


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([100], [65, 15, 20]),
        # 6.5 and 8 of 10; 0.65 and 0.8 of 1; 12.35 and 15.2 of 19.
        ([10, 1, 19], [6 + 0 + 12, 2 + 0 + 3, 2 + 1 + 4]),
    ],
)
def test_the_papers_parts_in_known_cases(counts, sizes):
    labels = np.repeat(np.arange(len(counts)), counts)
    assert [len(part) for part in paper_split(labels, 0)] == sizes


def test_the_seed_decides_on_the_papers_parts():
    labels = np.repeat([0, 1], 50)
    first, again, other = (paper_split(labels, seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
