"""The epochs of a run: curves, speed and tables."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from .plots import Curves, Plot, Series, line_plot
from .render import Table, duration, number
from .runs import RunFiles

Epoch = dict[str, Any]  # a row of metrics.csv

# In metrics.csv, before the authors' column, and in words.
SPLITS = (("train", "", "training"), ("val", "val_", "validation"))
# Column of metrics.csv -> its heading.
EPOCHS = {
    "epoch": "epoch",
    "lr": "learning rate",
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "train_accuracy": "training accuracy",
    "val_accuracy": "validation accuracy",
    "images_per_second": "images/s",
    "seconds": "seconds",
}


def curves(
    epochs: Sequence[Epoch], authors: Sequence[dict[str, float]] = ()
) -> list[Curves]:
    """Loss, accuracy and learning rate, those of the authors dashed.

    Args:
      epochs: rows of metrics.csv.
      authors: as `paper_curves` gives them.
    """
    losses = both_splits(epochs, "loss", authors, "loss")
    title, limit = "cross-entropy", loss_limit(losses)
    if limit is not None:
        title += f", cut off at {limit:.2g}"
    rates = [row["lr"] for row in epochs]
    rate = Series("learning rate", [row["epoch"] for row in epochs], rates, 2)
    accuracies = both_splits(epochs, "accuracy", authors, "acc")
    return [
        Curves("loss", title, losses, (0, limit)),
        Curves("accuracy", "accuracy", accuracies, (None, 1)),
        Curves("rate", "learning rate", [rate], (0, None)),
    ]


def both_splits(
    epochs: Sequence[Epoch],
    name: str,
    authors: Sequence[dict[str, float]],
    their_name: str,
) -> list[Series]:
    """Curves in training and validation, of the run and of the authors."""
    series = []
    for color, (split, prefix, label) in enumerate(SPLITS):
        x = [row["epoch"] for row in epochs]
        y = [row[f"{split}_{name}"] for row in epochs]
        series.append(Series(label, x, y, color))
        if authors:
            x = [row["epoch"] for row in authors]
            y = [row[prefix + their_name] for row in authors]
            series.append(Series(f"{label}, authors", x, y, color, dashed=True))
    return series


def loss_limit(series: Sequence[Series]) -> float | None:
    """Up to where losses are drawn, if a few peaks would make all else flat."""
    usual = 1.2 * max(float(np.quantile(one.y, 0.95)) for one in series)
    highest = max(max(one.y) for one in series)
    return usual if np.isfinite(usual) and highest > 2 * usual else None


def epoch_table(run: RunFiles) -> Table:
    rows = [[number(row[name]) for name in EPOCHS] for row in run.epochs]
    return Table("Each epoch", [*EPOCHS.values()], rows)


def speed_table(run: RunFiles) -> Table:
    rates = run.images_per_second
    rows = [
        ("training images/s, median of the epochs", number(median(rates))),
        ("slowest and fastest epoch", f"{number(min(rates))}, {number(max(rates))}"),
        (
            "time of an epoch with its validation, median",
            duration(median(row["seconds"] for row in run.epochs)),
        ),
        ("time for all epochs", duration(total_seconds(run))),
    ]
    return Table("Time and speed", ("what", "value"), rows, facts=True)


def speed_plot(run: RunFiles) -> Plot:
    epochs = [row["epoch"] for row in run.epochs]
    series = [Series("images/s", epochs, run.images_per_second, 3)]
    title = "training images/s"
    return line_plot(Curves("speed", title, series, (0, None)))


def total_seconds(run: RunFiles) -> float:
    return sum(row["seconds"] for row in run.epochs)
