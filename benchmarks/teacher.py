"""What a small net learns from a large one beside the labels.

    python -m benchmarks.teacher --work FOLDER --data-dir path/to/tfds
        [--runs RUN ...]

Trains a dense MobileNet on 5,000 images of CIFAR-10, and three seeds of its 16ch form
with and without it as `--teacher`, by `python -m train`: all the runs that the results
lack, or those that are named. A run that was stopped goes on from FOLDER. Adds to
results/teacher-DATE-DEVICE.json and prints it as a table.
"""

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.record import latest, record
from benchmarks.runs import accuracy_cell, cifar10_pictures, figures_of_run

NAME = "teacher"
SEEDS = range(3)
ARGUMENTS = ["--image-size", "64", "--no-small-images", "--epochs", "30"]
TEACHER = "teacher"
ALONE = [f"alone-{seed}" for seed in SEEDS]
TAUGHT = [f"taught-{seed}" for seed in SEEDS]
RUNS = (TEACHER, *ALONE, *TAUGHT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", nargs="+", choices=RUNS)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    for name in options.runs or [name for name in RUNS if name not in known()]:
        figures = train(name, options)
        print(f"{name}: {figures['test_accuracy']:.2%}", flush=True)
        record(NAME, {"runs": known() | {name: figures}})
    print("\n".join(table(known())))


def known() -> dict[str, dict[str, Any]]:
    return latest(NAME).get("runs", {})


def train(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of a run that it makes."""
    arguments = ["--data", cifar10_pictures(options.work, options.data_dir), *ARGUMENTS]
    if name == TEACHER:
        arguments += ["--min-channels", "none"]
    else:
        arguments += ["--min-channels", 16, "--seed", name.split("-")[-1]]
    if name in TAUGHT:
        if not (options.work / TEACHER / "result.json").is_file():
            train(TEACHER, options)
        arguments += ["--teacher", options.work / TEACHER]
    return figures_of_run(options.work / name, *arguments)


def table(runs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Test accuracies, means and ranges over the seeds, and what the teacher gives."""
    yield "| MobileNet | parameters | test accuracy |"
    yield "|---|---|---|"
    for title, names in {
        "dense, the teacher": [TEACHER],
        "16ch": ALONE,
        "16ch with the teacher": TAUGHT,
    }.items():
        made = [runs[name] for name in names if name in runs]
        params = f"{made[0]['params']:,}" if made else ""
        cell = accuracy_cell([run["test_accuracy"] for run in made])
        yield f"| {title} | {params} | {cell} |"
    gains = [
        100 * (runs[taught]["test_accuracy"] - runs[alone]["test_accuracy"])
        for taught, alone in zip(TAUGHT, ALONE, strict=True)
        if taught in runs and alone in runs
    ]
    if gains:
        by_seed = ", ".join(f"{gain:+.2f}" for gain in gains)
        yield f"points by seed: {by_seed}; mean {statistics.mean(gains):+.2f}"


if __name__ == "__main__":
    main()
