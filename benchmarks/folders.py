"""How well a folder of pictures is learned, with draws of its classes.

    python -m benchmarks.folders FOLDER [--classes 5] [--draws 3] [--seeds 1]
        [--case NAME] [ARGUMENTS OF python -m train ...]

Runs `python -m train` on each draw of the classes of an image folder with train/ and
test/ (all of them: once), on the first draw with all the seeds, and prints the test
accuracies, their mean and range, and the minutes. Adds them to
results/folders-DATE-DEVICE.json under the case, by default the arguments.
"""

import argparse
import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import add
from benchmarks.runs import figures_of_run

SPLITS = ("train", "test")
FIGURES = ("test_accuracy", "balanced_accuracy", "test_images", "best_epoch", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, help="of a draw (default: all)")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="of the first draw")
    parser.add_argument("--case", help="name in the results")
    options, arguments = parser.parse_known_args()
    runs = []
    for draw, seed in [
        *((draw, 0) for draw in range(options.draws)),
        *((0, seed) for seed in range(1, options.seeds)),
    ]:
        with tempfile.TemporaryDirectory() as work:
            data = draw_classes(options.folder, Path(work), options.classes, draw)
            result = train(data, Path(work, "run"), seed, arguments)
        runs.append({"draw": draw, "seed": seed, **result})
        print(f"draw {draw}, seed {seed}: {result['test_accuracy']:.2%}", flush=True)
    accuracies = [run["test_accuracy"] for run in runs]
    mean = statistics.mean(accuracies)
    print(f"mean {mean:.2%}, {min(accuracies):.2%} to {max(accuracies):.2%}")
    case = options.case or " ".join([options.folder.name, *arguments])
    print(f"written to {add('folders', case, {'mean': mean, 'runs': runs})}")


def draw_classes(folder: Path, work: Path, count: int | None, draw: int) -> Path:
    """A folder with the training and test pictures of some of the classes.

    Args:
      folder: has train/ and test/, each with a folder for each class.
      work: where the new folder is made, of links.
      count: number of classes; None: all.
      draw: which ones, by this seed.
    """
    classes = sorted(entry.name for entry in (folder / "train").iterdir())
    if count is not None:
        classes = random.Random(draw).sample(classes, count)
    data = work / folder.name
    for split in SPLITS:
        (data / split).mkdir(parents=True)
        for name in classes:
            (data / split / name).symlink_to((folder / split / name).absolute())
    return data


def train(data: Path, run: Path, seed: int, arguments: list[str]) -> dict[str, Any]:
    """The figures of a run that it makes."""
    arguments = ["--data", data, "--seed", seed, *arguments]
    figures = figures_of_run(run, *arguments, names=FIGURES)
    settings = json.loads((run / "config.json").read_text())
    return figures | {"epochs": settings["epochs"], "recipe": settings["recipe"]}


if __name__ == "__main__":
    main()
