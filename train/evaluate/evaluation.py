"""What an evaluation leaves behind: its text, tables and picture."""

import dataclasses
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from gpwjax.files import write_text

from .answers import Answers
from .files import write_answers
from .scores import (
    BINS,
    TOP,
    class_table,
    confusions,
    seen_classes,
    summary,
)
from .tables import Row

HEADING = ("class", "images", "recall", "95% interval", "precision", "F1")
MAX_ROWS = 40  # of the table of classes in the text; the file has all
MAX_CONFUSIONS = 10  # in the text
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
            ["\n".join(self.figures()), self._class_text(), self._confusion_text()]
        )

    def figures(self) -> list[str]:
        """The lines above the tables; the first has the accuracy."""
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
        from .picture import write_picture  # matplotlib takes a second

        write_picture(self, folder / "evaluation.png")


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
