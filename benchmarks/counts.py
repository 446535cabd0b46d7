"""The paper's tables of parameters and multiply-accumulates, ours beside them.

    python benchmarks/counts.py [DATASET ...]

Takes about 20 seconds: only shapes are computed. Parameters are the trainable ones. The
paper's "flops" are multiply-accumulates as TensorFlow's profiler counted them, up to
4.5% above the exact ones of convolutions and dense layers, which are ours.
"""

import argparse
import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import gpwjax

CLASSES = {"cifar10": 10, "cifar100": 100, "plantdoc": 29, "oxford_iiit_pet": 37}

RESULTS = Path(__file__).parents[1] / "train/paper_results.csv"
ROW = "{:<19}{:>6}{:>6}{:>12}{:>12}{:>10}{:>10}{:>8}{:>8}  {}"
HEADINGS = ("net", "ch", "input", "params", "ours", "M MACs", "ours", "", "acc %", "")


@cache
def count(model: str, classes: int, channels: str, size: int) -> gpwjax.Counts:
    """Of a row of the paper: `channels` is its channels per group, "" for dense."""
    net = gpwjax.create_model(
        model, classes, int(channels) if channels else None, small_images=size == 32
    )
    return gpwjax.count(net, (size, size, 3))


def line(row: dict[str, str]) -> str:
    """A row of the paper and our counts as a line of text."""
    model, channels = row["model"], row["channels_per_group"]
    size = int(row["input"])
    params, macs = int(row["params"]), int(row["paper_flops"])
    ours = ("", "", "")
    note = row["note"]  # where the tables differ from the records of the runs
    if model in gpwjax.list_models():
        counts = count(model, CLASSES[row["dataset"]], channels, size)
        ours = (
            f"{counts.params:,}",
            f"{counts.macs / 1e6:,.1f}",
            f"{macs / counts.macs - 1:+.1%}",
        )
        if counts.params != params:
            note = f"OURS DIFFER {note}"
    else:
        note = "not one of our nets"
    return ROW.format(
        model,
        channels or "dense",
        size,
        f"{params:,}",
        ours[0],
        f"{macs / 1e6:,.1f}",
        *ours[1:],
        row["test_acc"],
        f"<- {note}" if note else "",
    ).rstrip()


def main(args: Sequence[str] | None = None) -> None:
    """Prints the tables of the data sets that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "dataset", nargs="*", default=[], help=f"some of {', '.join(CLASSES)}"
    )
    datasets = parser.parse_args(args).dataset or list(CLASSES)
    for name in datasets:
        if name not in CLASSES:
            parser.error(f"dataset must be one of {', '.join(CLASSES)}, got {name!r}")
    with open(RESULTS, newline="") as file:
        rows = list(csv.DictReader(file))
    for dataset in datasets:
        print(f"{dataset}, {CLASSES[dataset]} classes")
        print(ROW.format(*HEADINGS).rstrip())
        for row in rows:
            if row["dataset"] == dataset:
                print(line(row), flush=True)
        print()


if __name__ == "__main__":
    main()
