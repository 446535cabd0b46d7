"""Scores against values worked by hand and other people's functions."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from train.score_report import Report
from train.scores import (
    BINS,
    Answers,
    calibration_error,
    calibration_table,
    class_table,
    confusions,
    summary,
    top_accuracy,
    wilson_interval,
)

# What was answered to ten images; of "d" there is none, and "c" is never answered.
PAIRS = ["aa", "aa", "aa", "ab", "bb", "bb", "ba", "ba", "cd", "ca"]


def answers_of(pairs: list[str], classes: str) -> Answers:
    """Certain answers, from pairs of the true and the predicted class."""
    labels, predicted = np.array([[classes.index(c) for c in pair] for pair in pairs]).T
    return Answers(list(classes), labels, 9 * np.eye(len(classes))[predicted])


def drawn_answers(classes: int, images: int = 500) -> Answers:
    """Random answers, often right; each class is there, and no two logits are equal."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % classes
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), labels] += rng.exponential(2, images)
    return Answers([f"class {n}" for n in range(classes)], labels, logits)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    # R. G. Newcombe: Two-sided confidence intervals for the single proportion,
    # Statistics in Medicine 17, 1998, Table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_that_of_newcombes_table(right, total, low, high):
    assert wilson_interval(right, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("right", "total"), [(0, 1), (7, 7), (8981, 10_000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_is_scipys(right, total, level):
    ours = wilson_interval(right, total, level)
    theirs = binomtest(right, total).proportion_ci(level, method="wilson")
    assert ours == pytest.approx(tuple(theirs), abs=1e-12)


def test_without_images_there_is_no_interval():
    assert wilson_interval(0, 0) == (None, None)


def test_each_class_has_its_row():
    a, b, c, d = class_table(answers_of(PAIRS, "abcd"))
    assert (a["images"], a["predicted"], a["recall"]) == (4, 6, 0.75)
    assert (a["precision"], a["f1"]) == (0.5, pytest.approx(0.6))
    assert (a["recall_low"], a["recall_high"]) == wilson_interval(3, 4)
    assert (b["recall"], b["precision"]) == (0.5, pytest.approx(2 / 3))
    assert c == {
        **{"class": "c", "images": 2, "predicted": 0, "precision": None},
        **{"recall": 0, "recall_low": 0, "f1": 0},
        "recall_high": pytest.approx(wilson_interval(0, 2)[1]),
    }
    assert (d["images"], d["predicted"], d["precision"], d["f1"]) == (0, 1, 0, 0)
    assert (d["recall"], d["recall_low"], d["recall_high"]) == (None, None, None)


def test_the_most_frequent_confusions_come_first():
    found = [tuple(row.values()) for row in confusions(answers_of(PAIRS, "abcd"))]
    assert found == [
        ("b", "a", 2, 0.5),
        ("a", "b", 1, 0.25),
        ("c", "a", 1, 0.5),
        ("c", "d", 1, 0.5),
    ]
    assert confusions(answers_of(["aa", "bb"], "ab")) == []


@pytest.mark.parametrize("classes", [3, 7])
def test_the_summary_is_scikit_learns(classes):
    answers = drawn_answers(classes)
    labels, predicted = answers.labels, answers.predicted
    probabilities = np.exp(answers.log_probabilities)
    of = summary(answers)
    expected = {
        "images": 500,
        "right": (labels == predicted).sum(),
        "accuracy": metrics.accuracy_score(labels, predicted),
        "mean_recall": metrics.balanced_accuracy_score(labels, predicted),
        "mean_f1": metrics.f1_score(labels, predicted, average="macro"),
        "cross_entropy": metrics.log_loss(labels, probabilities),
        "mean_confidence": probabilities.max(axis=1).mean(),
    }
    if classes > 5:  # else it would be 1
        expected["top5_accuracy"] = metrics.top_k_accuracy_score(
            labels, answers.logits, k=5
        )
    assert {key: of[key] for key in expected} == pytest.approx(expected)
    assert ("top5_accuracy" in of) == (classes > 5)
    assert 0.5 < of["accuracy_low"] < of["accuracy"] < of["accuracy_high"] < 1


def test_the_first_of_equally_probable_classes_counts():
    logits = np.array([[1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 0, 0]])
    answers = Answers(list("abcd"), np.array([2, 1, 3]), logits)
    assert [top_accuracy(answers, k) for k in (1, 2, 3, 4)] == [1 / 3, 1 / 3, 2 / 3, 1]
    assert summary(answers)["accuracy"] == top_accuracy(answers, 1)


def test_a_cross_entropy_stays_finite_where_a_probability_would_be_0():
    answers = Answers(["a", "b"], np.array([1, 0]), np.float32([[2000, 0], [5, 5]]))
    assert summary(answers)["cross_entropy"] == pytest.approx((2000 + np.log(2)) / 2)


def test_the_calibration_error_is_the_one_worked_by_hand():
    """Twice 0.9, one of them right: off by 0.4. Three times 0.62, all right: by 0.38.
    Certain and right: by 0."""
    confidence = np.array([0.9, 0.9, 0.62, 0.62, 0.62, 1])
    with np.errstate(divide="ignore"):
        logits = np.maximum(-1e9, np.log(np.stack([confidence, 1 - confidence], 1)))
    answers = Answers(["a", "b"], np.array([0, 1, 0, 0, 0, 0]), logits)
    table = calibration_table(answers)
    # 0.62 is above 9/15, 0.9 above 13/15.
    assert {n: row["images"] for n, row in enumerate(table) if row["images"]} == {
        **{9: 3, 13: 2, 14: 1}
    }
    assert (table[13]["confidence"], table[13]["accuracy"]) == pytest.approx((0.9, 0.5))
    assert (table[0]["confidence"], table[0]["accuracy"]) == (None, None)
    assert (table[9]["low"], table[9]["high"]) == pytest.approx((9 / 15, 10 / 15))
    expected = (2 * 0.4 + 3 * 0.38) / 6
    assert calibration_error(table) == pytest.approx(expected)
    assert summary(answers)["calibration_error"] == pytest.approx(expected)


def test_the_calibration_is_scikit_learns():
    answers = drawn_answers(4)
    table = [row for row in calibration_table(answers) if row["images"]]
    share, mean = calibration_curve(answers.right, answers.confidence, n_bins=BINS)
    np.testing.assert_allclose([row["accuracy"] for row in table], share)
    np.testing.assert_allclose([row["confidence"] for row in table], mean)


def report_of(answers: Answers) -> Report:
    return Report(answers, np.arange(len(answers.labels)), "made", "test", {})


def test_the_text_says_what_matters():
    text = report_of(answers_of(PAIRS, "abcd")).text()
    assert text.splitlines()[0] == (
        "accuracy 50.00% (95% interval 23.66% to 76.34%), 5 of 10 test images of made"
    )
    assert "top-" not in text
    assert "\na           4   75.0%   30.1% to 95.4%      50.0%   60.0%\n" in text
    assert "\nc           2    0.0%    0.0% to 65.8%               0.0%\n" in text
    assert "  b taken for a: 2 (50.0%)" in text


def test_of_many_classes_the_text_has_those_with_the_lowest_recall():
    answers = drawn_answers(50)
    lines = report_of(answers).text().splitlines()
    start = lines.index("the 40 of 50 classes with the lowest recall:") + 2
    shown = [line.split()[1] for line in lines[start : start + 40]]
    recall = [row["recall"] for row in class_table(answers)]
    shown_recall = [recall[int(number)] for number in shown]
    assert shown_recall == sorted(recall)[:40]


# A picture in which there is no room for the axes would warn, which is an error here.
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_picture_grows_with_the_classes_within_bounds(classes):
    answers = drawn_answers(classes)
    names = [f"$a_{n}$ and a rather long name" for n in range(classes)]
    figure = report_of(Answers(names, answers.labels, answers.logits)).draw()
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    assert 7 <= height <= 21
    assert height < width < 28
    matrix, recall = figure.subfigs[0].axes
    assert [text.get_text() for text in matrix.get_yticklabels()] == names
    assert matrix.get_position().height == recall.get_position().height
    assert matrix.get_position().width > 0.3


def test_classes_that_do_not_occur_are_left_out_of_text_and_picture():
    answers = drawn_answers(3)
    logits = np.pad(answers.logits, [(0, 0), (0, 97)], constant_values=-99)
    names = [f"class {n}" for n in range(100)]
    report = report_of(Answers(names, answers.labels, logits))
    assert "class 2 " in report.text()
    assert "class 3 " not in report.text()
    assert report.draw().get_size_inches()[1] < 8
