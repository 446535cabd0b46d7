"""Runs of `python -m train` whose results are measured, and pictures for them."""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from train.config import Config, RunError
from train.data import load_dataset
from train.run_folder import read_origin

PICTURES = 5_000  # of CIFAR-10's training images
FIGURES = ("test_accuracy", "val_accuracy", "params", "macs", "seconds")


def figures_of_run(
    folder: Path, *arguments: Any, names: tuple[str, ...] = FIGURES
) -> dict[str, Any]:
    """Figures of the run in a folder, which is made, or goes on, to its end, and the
    commit with which it began.

    Args:
      folder: of the run.
      *arguments: of `python -m train`.
      names: of the results to give.

    Raises:
      RunError: the run failed.
    """
    command = [sys.executable, "-m", "train", "--run-dir", folder, *arguments]
    command = [str(part) for part in command]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        raise RunError(f"the run failed: {' '.join(command)}")
    result = json.loads((folder / "result.json").read_text())
    began_with = read_origin(folder)["commit"]
    return {name: result[name] for name in names} | {"commit": began_with}


def cifar10_pictures(work: Path, data_dir: Path | None) -> Path:
    """An image folder: the first training images of each class of CIFAR-10, as many of
    each, and all test images.

    Args:
      work: where the folder is, or is made.
      data_dir: of prepared TFDS sets, as of `python -m train`.
    """
    folder = work / "cifar10"
    if folder.is_dir():
        return folder
    data = load_dataset(Config("cifar10", data_dir=data_dir, image_size=32))
    labels, unfinished = np.asarray(data.labels), work / "unfinished"
    each = PICTURES // len(data.classes)
    train = np.sort(np.concatenate([data.train, data.val]))
    first = [train[labels[train] == c][:each] for c in range(len(data.classes))]
    for split, numbers in (("train", np.concatenate(first)), ("test", data.test)):
        for number in numbers:
            place = unfinished / split / data.classes[labels[number]]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(data.images[number]).save(place / f"{number:05}.png")
    unfinished.rename(folder)
    return folder


def accuracy_cell(accuracies: list[float]) -> str:
    """Mean and range over the seeds."""
    if not accuracies:
        return "not run"
    if len(accuracies) == 1:
        return f"{accuracies[0]:.2%} (1 seed)"
    mean, low, high = statistics.mean(accuracies), min(accuracies), max(accuracies)
    return f"{mean:.2%} ({low:.2%} to {high:.2%}, {len(accuracies)} seeds)"
