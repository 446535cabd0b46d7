"""How good a net's answers are."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from gpwjax.intervals import wilson_interval

from .answers import Answers
from .tables import Row

BINS = 15  # of the confidence, as in Guo et al. 2017
TOP = 5  # an answer counts as nearly right where the label is among so many


def summary(answers: Answers) -> Row:
    """The numbers that a whole evaluation comes down to, of answers with logits."""
    right, total = int(answers.right.sum()), len(answers.labels)
    low, high = wilson_interval(right, total)
    table = class_table(answers)
    result = {
        "images": total,
        "right": right,
        "accuracy": right / total,
        "accuracy_low": low,
        "accuracy_high": high,
    }
    if len(answers.classes) > TOP:
        result[f"top{TOP}_accuracy"] = top_accuracy(answers, TOP)
    return result | {
        "balanced_accuracy": mean(row["recall"] for row in table),
        "mean_f1": mean(row["f1"] for row in table),
        "cross_entropy": float(answers.losses.mean()),
        "mean_confidence": float(answers.confidence.mean()),
        "calibration_error": calibration_error(calibration_table(answers)),
    }


def mean(values: Iterable[float | None]) -> float:
    """The mean of the values that there are."""
    return float(np.mean([value for value in values if value is not None]))


def half_interval(values: np.ndarray) -> float:
    """Half the width of the 95% interval of the mean of some normal values (Student's
    t); infinite for a single one."""
    from scipy import stats  # takes a second

    count = len(values)
    if count < 2:
        return math.inf
    return float(stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / math.sqrt(count))


def top_accuracy(answers: Answers, k: int) -> float:
    """Share of the images whose true class is among the k most probable ones."""
    # Stable, so that the first is `predicted` where several are equally probable.
    order = np.argsort(-answers.logits, axis=1, kind="stable")
    return float((order[:, :k] == answers.labels[:, None]).any(axis=1).mean())


def class_table(answers: Answers) -> list[Row]:
    """A row for each class: its images, how often it was predicted, recall with its
    interval, precision and F1. There is no recall without images of the class, and no
    precision where it was never predicted."""
    confusion = answers.confusion
    columns = (np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0))
    rows = []
    for name, right, images, predicted in zip(
        answers.classes, *(column.tolist() for column in columns), strict=True
    ):
        low, high = wilson_interval(right, images)
        rows.append(
            {
                "class": name,
                "images": images,
                "predicted": predicted,
                "recall": right / images if images else None,
                "recall_low": low,
                "recall_high": high,
                "precision": right / predicted if predicted else None,
                "f1": 2 * right / (images + predicted) if images + predicted else None,
            }
        )
    return rows


def seen_classes(answers: Answers) -> np.ndarray:
    """Numbers of the classes that there are images of, or that were predicted."""
    return np.union1d(answers.labels, answers.predicted)


def confusions(answers: Answers) -> list[Row]:
    """Each pair of a class and one that it was taken for, the most frequent first."""
    wrong = answers.confusion * (1 - np.eye(len(answers.classes), dtype=int))
    # Stable, so that equally frequent ones are in the order of the classes.
    order = np.argsort(-wrong, axis=None, kind="stable")[: np.count_nonzero(wrong)]
    totals = wrong.sum(axis=1) + np.diag(answers.confusion)
    return [
        {
            "true": answers.classes[true],
            "predicted": answers.classes[predicted],
            "images": int(wrong[true, predicted]),
            "share": float(wrong[true, predicted] / totals[true]),
        }
        for true, predicted in zip(*np.unravel_index(order, wrong.shape), strict=True)
    ]


def calibration_table(answers: Answers) -> list[Row]:
    """A row for each of BINS intervals of the confidence, low < confidence <= high:
    its images, their mean confidence, and the share that was right."""
    edges = np.linspace(0, 1, BINS + 1)
    confidence, right = answers.confidence, answers.right
    bins = np.searchsorted(edges[1:-1], confidence)
    rows = []
    for number in range(BINS):
        inside = bins == number
        some = inside.any()
        rows.append(
            {
                "low": float(edges[number]),
                "high": float(edges[number + 1]),
                "images": int(inside.sum()),
                "confidence": float(confidence[inside].mean()) if some else None,
                "accuracy": float(right[inside].mean()) if some else None,
            }
        )
    return rows


def calibration_error(table: Sequence[Row]) -> float:
    """How far confidence and accuracy are apart, in the mean over the images.

    The expected calibration error of C. Guo et al.: On calibration of modern neural
    networks, ICML 2017, https://arxiv.org/abs/1706.04599, eq. 3.
    """
    full = [row for row in table if row["images"]]
    gaps = [abs(row["confidence"] - row["accuracy"]) for row in full]
    return float(np.average(gaps, weights=[row["images"] for row in full]))
