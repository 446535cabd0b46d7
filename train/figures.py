"""The pictures of a run: its curves, and a confusion matrix."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

MAX_NUMBERS = 40  # classes up to which a confusion matrix shows its numbers


def plot_curves(rows: Sequence[dict[str, Any]], best_epoch: int, file: Path) -> None:
    """Loss, accuracy and learning rate of each epoch."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in rows]

    def plot(axes: Axes, name: str, label: str, **style: Any) -> None:
        marker = "o" if len(rows) < 3 else ""
        values = [row[name] for row in rows]
        axes.plot(epochs, values, marker=marker, label=label, **style)

    for split, label in (("train", "training"), ("val", "validation")):
        plot(loss, f"{split}_loss", label)
        plot(accuracy, f"{split}_accuracy", label)
    plot(rate, "lr", "learning rate", color="tab:gray")
    loss.set(title="cross-entropy", ylim=(0, None))
    accuracy.set(title="accuracy", ylim=(None, 1))
    rate.set(title="learning rate", ylim=(0, None))
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    for axes in (loss, accuracy):
        axes.axvline(best_epoch, color="tab:gray", linestyle=":", label="best epoch")
        axes.legend()
    figure.savefig(file, dpi=120)


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], file: Path) -> None:
    """How many test images of each class (row) were taken for each class (column)."""
    size = confusion_inches(len(classes))
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    picture = draw_confusion(axes, matrix, classes)
    figure.colorbar(picture, label="share of the true class")
    axes.set_title(f"{np.trace(matrix)} of {matrix.sum()} test images right")
    figure.savefig(file, dpi=120)


def confusion_inches(classes: int) -> float:
    """Height and width in which a confusion matrix can be read."""
    return min(20, 2.5 + 0.42 * classes)


def draw_confusion(axes: Axes, matrix: np.ndarray, classes: Sequence[str]) -> AxesImage:
    """Draws a confusion matrix (true, predicted), each row as shares of its sum."""
    share = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    picture = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    # As large as the row of a class, up to 9 points.
    font = min(9, 60 * confusion_inches(len(classes)) / len(classes))
    # A name with two dollar signs is no formula.
    style = {"fontsize": font, "parse_math": False}
    axes.set_xticks(range(len(classes)), classes, rotation=90, **style)
    axes.set_yticks(range(len(classes)), classes, **style)
    axes.set(xlabel="predicted", ylabel="true")
    if len(classes) <= MAX_NUMBERS:
        for row, column in np.argwhere(matrix > 0):
            axes.text(
                column,
                row,
                matrix[row, column],
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[row, column] > 0.5 else "black",
            )
    return picture
