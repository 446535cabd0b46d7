"""What an evaluation leaves behind: its text, tables and picture."""

import dataclasses
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gpwjax.canvas import Axes, Figure, drawable, own_settings
from gpwjax.files import write_text

from .answers import Answers
from .figures import confusion_inches, draw_confusion, save
from .files import write_answers
from .scores import (
    BINS,
    TOP,
    calibration_table,
    class_table,
    confusions,
    seen_classes,
    summary,
)
from .tables import Row

HEADING = ("class", "images", "recall", "95% interval", "precision", "F1")
MAX_ROWS = 40  # of the table of classes in the text; the file has all
MAX_CONFUSIONS = 10  # in the text
CALIBRATION_INCHES = 6.5  # height of its two diagrams
PARTS = {"train": "training ", "val": "validation ", "test": "test ", "all": ""}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Answers to the images of a part of a data set, and all that is said of them.

    Attributes:
      answers: to the images, with logits.
      data: name of the data set.
      part: "train", "val", "test", or "all" for all of them.
      about: how the answers came about, for the summary.
    """

    answers: Answers
    data: str
    part: str
    about: dict[str, Any]

    @cached_property
    def summary(self) -> Row:
        return summary(self.answers)

    @cached_property
    def classes(self) -> list[Row]:
        """The table of the classes that there are images of, or that were predicted."""
        table = class_table(self.answers)
        return [table[number] for number in seen_classes(self.answers)]

    def text(self) -> str:
        """All that matters, for people."""
        return "\n\n".join(
            ["\n".join(self._figures()), self._class_text(), self._confusion_text()]
        )

    def _figures(self) -> list[str]:
        of = self.summary
        lines = [
            f"accuracy {of['accuracy']:.2%} (95% interval {of['accuracy_low']:.2%} to "
            f"{of['accuracy_high']:.2%}), {of['right']:,} of {of['images']:,} "
            f"{PARTS[self.part]}images of {self.data}"
        ]
        if (top := of.get(f"top{TOP}_accuracy")) is not None:
            lines.append(f"top-{TOP} accuracy {top:.2%}")
        return [
            *lines,
            f"balanced accuracy {of['balanced_accuracy']:.2%} (mean recall of the "
            f"classes), mean F1 {of['mean_f1']:.2%}",
            f"cross-entropy {of['cross_entropy']:.4f}",
            f"expected calibration error {of['calibration_error']:.2%} ({BINS} bins), "
            f"mean confidence {of['mean_confidence']:.2%}",
        ]

    def _class_text(self) -> str:
        rows, lines = self.classes, []
        if len(rows) > MAX_ROWS:
            lines = [f"the {MAX_ROWS} of {len(rows)} classes with the lowest recall:"]
            tested = [row for row in rows if row["images"]]
            rows = sorted(tested, key=lambda row: row["recall"])[:MAX_ROWS]
        cells = [HEADING, *map(class_cells, rows)]
        width = max(len(name) for name, *_ in cells)
        for name, *others in cells:
            columns = zip(others, (7, 7, 16, 10, 7), strict=True)
            line = " ".join(f"{text:>{wide}}" for text, wide in columns)
            lines.append(f"{name:{width}} {line}")
        return "\n".join(lines)

    def _confusion_text(self) -> str:
        found = confusions(self.answers)[:MAX_CONFUSIONS]
        if not found:
            return "no image was taken for one of another class"
        lines = [
            f"  {row['true']} taken for {row['predicted']}: {row['images']:,} "
            f"({row['share']:.1%})"
            for row in found
        ]
        return "\n".join(["most frequent confusions:", *lines])

    def write(self, folder: Path) -> None:
        """Writes all files, the picture last."""
        write_answers(folder, self.answers)
        about = {"data": self.data, "part": self.part, **self.summary, **self.about}
        write_text(
            folder / "summary.json", json.dumps(about, indent=2, allow_nan=False)
        )
        with own_settings(names=[*self.answers.classes, self.data]):
            save(self.draw(), folder / "evaluation.png")

    def draw(self) -> Figure:
        """The confusion matrix with each class's recall, and the calibration; inside
        `own_settings` with the names of the classes."""
        shown = seen_classes(self.answers)
        names = [row["class"] for row in self.classes]
        side = max(confusion_inches(names), CALIBRATION_INCHES)
        figure = Figure(figsize=(side + 6.5, side + 0.5), layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=(side + 2.5, 4))
        matrix, recall = left.subplots(1, 2, width_ratios=(side, 2.5), sharey=True)
        confusion = self.answers.confusion[np.ix_(shown, shown)]
        draw_confusion(matrix, confusion, names)
        matrix.set_aspect("auto")  # as high as the bars beside it
        draw_recall(recall, self.classes)
        # What is below them is empty, so that they are as large for any matrix.
        heights = (4, 2.5, max(0.01, side - CALIBRATION_INCHES))
        reliability, confidence, empty = right.subplots(3, 1, height_ratios=heights)
        empty.set_axis_off()
        table = calibration_table(self.answers)
        draw_reliability(reliability, table)
        draw_confidence(confidence, table)
        figure.suptitle(*drawable(self._figures()[:1]))
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


def class_cells(row: Row) -> tuple[str, ...]:
    """A row of the table of classes as text, under HEADING."""
    low, high = percent(row["recall_low"]), percent(row["recall_high"])
    return (
        row["class"],
        f"{row['images']:,}",
        percent(row["recall"]),
        f"{low} to {high}" if row["images"] else "",
        percent(row["precision"]),
        percent(row["f1"]),
    )


def percent(share: float | None) -> str:
    """A share in a table; nothing where there is none."""
    return "" if share is None else f"{share:.1%}"
