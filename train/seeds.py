"""The same run with several seeds, and what their results have in common."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpwjax.files import write_text

from .config import Config
from .evaluate.scores import half_interval
from .loop import fit
from .origin import check_run_folder
from .process.hosts import is_first, largest
from .process.stop import Stopped, StopRequest
from .run_folder import SEEDS, of_seed

log = logging.getLogger(__name__)

COLUMNS = ("test_accuracy", "val_accuracy", "best_epoch", "seconds")


def fit_seeds(config: Config, stop: StopRequest) -> str:
    """Makes the runs that are not finished, one after the other.

    Their folders are in that of the configuration, beside `seeds.csv` and a report of
    them all.

    Returns:
      The table of their results.

    Raises:
      RunError: a run cannot begin or go on.
      Stopped: it was asked to stop; where it stopped is saved.
    """
    last = config.seed + config.seeds - 1
    runs = [one_of(config, seed) for seed in range(config.seed, last + 1)]
    for run in runs:
        check_run_folder(run)
    results = []
    for run in runs:
        (signum,) = largest(stop.signum or 0)
        if signum:
            raise Stopped(signum, f"stopped before seed {run.seed}")
        log.info("seed %d, up to %d", run.seed, last)
        results.append({"seed": run.seed, **fit(run, stop)})
    lines = summarize(results)
    text = "".join(",".join(map(str, line)) + "\n" for line in lines)
    if is_first():
        write_text(config.folder / SEEDS, text)
        from .report.build import build_report  # takes a second

        build_report(config.folder)
    return show(lines)


def one_of(config: Config, seed: int) -> Config:
    """The configuration of one of the runs."""
    folder = of_seed(config.folder, seed)
    return dataclasses.replace(config, seed=seed, seeds=1, run_dir=folder)


def summarize(results: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """A heading, a line for each run, their means, and half of the 95% intervals."""
    values = np.array([[result[name] for name in COLUMNS] for result in results])
    half = [half_interval(column) for column in values.T]
    return [
        ["seed", *COLUMNS],
        *([result["seed"], *(result[name] for name in COLUMNS)] for result in results),
        ["mean", *values.mean(axis=0).tolist()],
        ["interval95", *half],
    ]


def show(lines: Sequence[Sequence[Any]]) -> str:
    """The lines of `summarize` as a table to read."""
    (_, *_), *runs, (_, *means), (_, *halves) = lines
    row = "{:>6}{:>18}{:>18}{:>12}{:>10}"
    cells = [("seed", "test accuracy", "validation", "best epoch", "seconds")]
    for seed, test, val, epoch, seconds in runs:
        cells.append((seed, f"{test:.2%}", f"{val:.2%}", epoch, f"{seconds:,.0f}"))
    test, val = (
        f"{100 * mean:.2f} ± {100 * half:.2f}%"
        for mean, half in list(zip(means, halves, strict=True))[:2]
    )
    cells.append(("mean", test, val, "", f"{means[3]:,.0f}"))
    return "\n".join(row.format(*cell).rstrip() for cell in cells)
