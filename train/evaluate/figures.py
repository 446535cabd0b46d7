"""A confusion matrix as a picture."""

import io
from collections.abc import Sequence
from pathlib import Path
from unicodedata import east_asian_width

import numpy as np

from gpwjax.canvas import Axes, AxesImage, Figure, drawable, own_settings
from gpwjax.captions import shortened
from gpwjax.files import write_bytes

USUAL_NAME = 6  # width of a class's name for which there is always room
MAX_NUMBERS = 40  # classes up to which a confusion matrix shows its numbers


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], file: Path) -> None:
    """How many test images of each class (row) were taken for each class (column)."""
    size = confusion_inches(classes)
    with own_settings(names=classes):
        figure = Figure(figsize=(size + 1, size), layout="constrained")
        axes = figure.subplots()
        picture = draw_confusion(axes, matrix, classes)
        figure.colorbar(picture, label="share of the true class")
        axes.set_title(f"{np.trace(matrix)} of {matrix.sum()} test images right")
        save(figure, file)


def save(figure: Figure, file: Path) -> None:
    """Writes a .png file; inside the settings with which the figure was drawn."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_bytes(file, picture.getvalue())


def confusion_inches(classes: Sequence[str]) -> float:
    """Height and width in which a confusion matrix and its names can be read."""
    longest = max(map(text_width, drawn_names(classes)))
    beyond = max(0, longest - USUAL_NAME) * font_size(len(classes)) / 72
    return matrix_inches(len(classes)) + beyond


def matrix_inches(classes: int) -> float:
    return min(20, 2.5 + 0.42 * classes)


def drawn_names(classes: Sequence[str]) -> list[str]:
    """The names of classes as they are drawn."""
    return drawable(map(shortened, classes))


def font_size(classes: int) -> float:
    """Of the names beside a confusion matrix, points: as high as the row of a class,
    up to 9."""
    return min(9, 60 * matrix_inches(classes) / classes)


def text_width(text: str) -> float:
    """About how wide a text is, in heights of its font."""
    return sum(1 if east_asian_width(c) in "WF" else 0.65 for c in text)


def draw_confusion(axes: Axes, matrix: np.ndarray, classes: Sequence[str]) -> AxesImage:
    """Draws a confusion matrix (true, predicted), each row as shares of its sum, inside
    `own_settings(names=classes)`."""
    share = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    picture = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    names, size = drawn_names(classes), font_size(len(classes))
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
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
