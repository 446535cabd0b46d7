"""An evaluation as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpwjax.canvas import Axes, Figure, drawable, own_settings

from .evaluation import Evaluation
from .figures import confusion_inches, draw_confusion, save
from .scores import BINS, calibration_table, seen_classes
from .tables import Row

CALIBRATION_INCHES = 6.5  # height of its two diagrams


def write_picture(of: Evaluation, file: Path) -> None:
    with own_settings(names=[*of.answers.classes, of.data]):
        save(draw(of), file)


def draw(of: Evaluation) -> Figure:
    """The confusion matrix with each class's recall, and the calibration; inside
    `own_settings` with the names of the classes."""
    shown = seen_classes(of.answers)
    names = [row["class"] for row in of.classes]
    side = max(confusion_inches(names), CALIBRATION_INCHES)
    figure = Figure(figsize=(side + 6.5, side + 0.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(side + 2.5, 4))
    matrix, recall = left.subplots(1, 2, width_ratios=(side, 2.5), sharey=True)
    confusion = of.answers.confusion[np.ix_(shown, shown)]
    draw_confusion(matrix, confusion, names)
    matrix.set_aspect("auto")  # as high as the bars beside it
    draw_recall(recall, of.classes)
    # What is below them is empty, so that they are as large for any matrix.
    heights = (4, 2.5, max(0.01, side - CALIBRATION_INCHES))
    reliability, confidence, empty = right.subplots(3, 1, height_ratios=heights)
    empty.set_axis_off()
    table = calibration_table(of.answers)
    draw_reliability(reliability, table)
    draw_confidence(confidence, table)
    figure.suptitle(*drawable(of.figures()[:1]))
    return figure


def draw_recall(axes: Axes, rows: Sequence[Row]) -> None:
    """Recall of each class, beside its row of the confusion matrix."""
    numbers = [n for n, row in enumerate(rows) if row["images"]]
    recall, low, high = (
        np.array([rows[n][key] for n in numbers])
        for key in ("recall", "recall_low", "recall_high")
    )
    # Rounding may put the ends of an interval beyond a recall of 0 or 1.
    errors = np.maximum(0, (recall - low, high - recall))
    axes.barh(numbers, recall, color="tab:blue", alpha=0.6)
    axes.errorbar(recall, numbers, xerr=errors, fmt="none", color="black", linewidth=1)
    axes.tick_params(left=False, labelleft=False)
    axes.set(xlim=(0, 1), xlabel="recall, 95% interval")
    axes.grid(axis="x", alpha=0.3)


def draw_reliability(axes: Axes, table: Sequence[Row]) -> None:
    """Accuracy by confidence: on the diagonal the net is as sure as it is right."""
    rows = [row for row in table if row["images"]]
    axes.plot((0, 1), (0, 1), color="tab:gray", linestyle=":")
    draw_bins(axes, rows, "accuracy")
    points = [row["confidence"] for row in rows], [row["accuracy"] for row in rows]
    axes.plot(*points, "o", color="black", markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title="calibration")
    axes.grid(alpha=0.3)


def draw_confidence(axes: Axes, table: Sequence[Row]) -> None:
    """How many images the net is how sure of."""
    draw_bins(axes, table, "images")
    axes.set(xlim=(0, 1), xlabel="confidence", ylabel="images")
    axes.grid(alpha=0.3)


def draw_bins(axes: Axes, rows: Sequence[Row], column: str) -> None:
    """A bar for each interval of the confidence, as high as the column says."""
    axes.bar(
        [row["low"] for row in rows],
        [row[column] for row in rows],
        width=1 / BINS,
        align="edge",
        edgecolor="white",
        alpha=0.6,
    )
