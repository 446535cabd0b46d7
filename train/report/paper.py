"""What the paper and its authors' records say of the same net on the same data."""

import csv
from functools import cache
from pathlib import Path

from ..config import Config
from ..presets import RECIPES, paper_rows, presets

HISTORIES = Path(__file__).parents[1] / "paper_histories.csv"
KEY = ("dataset", "model", "channels_per_group", "input")
SAME = ("data", "model", "min_channels", "scheme", "image_size", "small_images")

PaperRow = dict[str, str]  # of paper_results.csv


def paper_row(config: Config) -> PaperRow | None:
    """The row of the paper's tables with the net, the data and the input of a run."""
    for name, row in paper_rows().items():
        preset = presets()[name]
        if all(getattr(preset, key) == getattr(config, key) for key in SAME):
            return row
    return None


def rows_of_data(data: str) -> list[PaperRow]:
    """All rows of the paper's tables on a data set."""
    return [
        row for row in paper_rows().values() if RECIPES[row["dataset"]]["data"] == data
    ]


def paper_curves(row: PaperRow | None) -> list[dict[str, float]]:
    """Loss and accuracy of each epoch that the authors recorded: rows of epoch, loss,
    acc, val_loss and val_acc. There are none for two of the rows, and for no row."""
    return histories().get(tuple(row[key] for key in KEY), []) if row else []


@cache
def histories() -> dict[tuple[str, ...], list[dict[str, float]]]:
    """The authors' curves by data set, net, channels and input."""
    found: dict[tuple[str, ...], list[dict[str, float]]] = {}
    with HISTORIES.open(newline="") as file:
        for row in csv.DictReader(file):
            key = tuple(row.pop(name) for name in KEY)
            found.setdefault(key, []).append({k: float(v) for k, v in row.items()})
    return found


def paper_notes(config: Config, row: PaperRow) -> list[str]:
    """What must be known to compare a run with the paper's row."""
    notes = ["The paper's figures are of one run."]
    if row["note"]:
        notes.append(f"In this row the paper has a {row['note']}.")
    if curves := paper_curves(row):
        notes.append(
            f"The authors' curves are those of their published records of a run, "
            f"{len(curves)} of {row['epochs']} epochs."
        )
    else:
        notes.append("The authors published no curves of this row.")
    of_paper = RECIPES[row["dataset"]]
    if of_paper.get("augment_val"):
        here = "so did this run" if config.augment_val else "this run did not"
        notes.append(f"The authors augmented the validation images too; {here}.")
    elif config.augment_val:
        notes.append("This run augmented the validation images; the authors did not.")
    if config.split != of_paper.get("split", config.split):
        notes.append(
            "The paper's split has crops of one photograph in several parts; that of "
            "this run has not, which is harder."
        )
    return notes
