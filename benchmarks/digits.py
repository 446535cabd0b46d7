"""How good the default run is, by seed, and how long it takes.

    python -m benchmarks.digits SEED ... [--work runs/digits]

Runs `python -m train --seed SEED` for each of the seeds, and prints the test accuracies
and the minutes from the start of the program to its end; adds them to
results/digits-DATE-DEVICE.json.
"""

import argparse
import statistics
import time
from pathlib import Path

from benchmarks.record import add, latest
from benchmarks.runs import figures_of_run
from gpwjax.compilation import usable_cores

NAME = "digits"
FIGURES = ("test_accuracy", "val_accuracy", "best_epoch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="+", type=int, metavar="SEED")
    parser.add_argument("--work", type=Path, default=Path("runs/digits"))
    options = parser.parse_args()
    for seed in options.seeds:
        folder = options.work / f"seed{seed}"
        begun = time.monotonic()
        figures = figures_of_run(folder, "--seed", seed, names=FIGURES)
        seconds = round(time.monotonic() - begun, 1)
        figures |= {"seconds": seconds, "cores": usable_cores()}
        file = add(NAME, f"seed {seed}", figures)
    runs = latest(NAME)["cases"].values()
    accuracies = [run["test_accuracy"] for run in runs]
    print(
        f"{len(runs)} seeds: mean {statistics.mean(accuracies):.2%}, "
        f"{min(accuracies):.2%} to {max(accuracies):.2%}; "
        f"{statistics.mean(run['seconds'] for run in runs) / 60:.1f} minutes each; "
        f"written to {file}"
    )


if __name__ == "__main__":
    main()
