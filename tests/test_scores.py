"""The numbers of an evaluation against hand-worked values and SciPy's."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from train.config import RunError
from train.data import Dataset
from train.evaluate.answers import Answers
from train.evaluate.program import match_classes
from train.evaluate.scores import (
    calibration_error,
    calibration_table,
    class_table,
    summary,
    top_accuracy,
    wilson_interval,
)

# Probabilities of three classes for four images, the first three of which are right.
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.5, 0.3, 0.2]]
)
ANSWERS = Answers.of(("a", "b", "c"), np.array([0, 1, 2, 2]), np.log(PROBABILITIES))


@pytest.mark.parametrize(("right", "total"), [(0, 9), (9, 9), (8981, 10_000), (3, 7)])
def test_the_interval_is_scipys(right, total):
    expected = stats.binomtest(right, total).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson_interval(right, total), expected, atol=1e-9)


def test_the_summary_by_hand():
    of = summary(ANSWERS)
    assert (of["images"], of["right"], of["accuracy"]) == (4, 3, 0.75)
    expected = -np.log([0.8, 0.8, 0.4, 0.2]).mean()
    np.testing.assert_allclose(of["cross_entropy"], expected)


def test_calibration_by_hand():
    """Two right at 0.8, one right at 0.4, one wrong at 0.5."""
    error = calibration_error(calibration_table(ANSWERS))
    np.testing.assert_allclose(error, (2 * 0.2 + 0.6 + 0.5) / 4)


def test_a_class_has_its_recall_and_precision():
    a, _, c = class_table(ANSWERS)
    assert (a["images"], a["recall"], a["precision"]) == (1, 1.0, 0.5)
    assert (c["images"], c["recall"], c["precision"]) == (2, 0.5, 1.0)


def test_the_table_of_classes_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 5, 60), rng.normal(size=(60, 6))
    logits[:, 4] = -9  # never the answer, and of class 5 there is no image
    answers = Answers.of(tuple("abcdef"), labels, logits)
    expected = precision_recall_fscore_support(
        labels, logits.argmax(1), labels=range(6), zero_division=np.nan
    )
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        found = [row[name] for row in class_table(answers)]
        np.testing.assert_allclose(np.array(found, float), values)
    matrix = confusion_matrix(labels, logits.argmax(1), labels=range(6))
    np.testing.assert_array_equal(answers.confusion, matrix)


def test_the_top_classes_are_counted():
    assert [top_accuracy(ANSWERS, k) for k in (1, 2, 3)] == [0.75, 0.75, 1.0]


def test_classes_are_matched_by_name():
    empty = np.arange(0)
    data = Dataset("set", ("c", "a"), empty, empty, empty, empty, empty, [])
    np.testing.assert_array_equal(match_classes(("a", "b", "c"), data), [2, 0])
    spelled = Dataset("set", ("CAFÉ", "Tea "), empty, empty, empty, empty, empty, [])
    known = ("tea", "cafe\u0301")
    np.testing.assert_array_equal(match_classes(known, spelled), [1, 0])
    same = Dataset("set", ("tea", "Tea"), empty, empty, empty, empty, empty, [])
    np.testing.assert_array_equal(match_classes(("Tea", "tea"), same), [1, 0])
    with pytest.raises(RunError, match="does not know 1 of the 2 classes of set: 'c'"):
        match_classes(("a", "b"), data)
