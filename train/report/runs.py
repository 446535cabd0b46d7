"""A run as its folder has it."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from gpwjax.pictures import UnreadableImageError, read_image

from ..config import Config, RunError
from ..evaluate.answers import Answers
from ..evaluate.files import read_answers
from ..evaluate.tables import read_table
from ..run_folder import (
    CLASSES,
    COSTS,
    MISTAKES,
    PREDICTIONS,
    RESULT,
    has_run,
    is_finished,
    read_config,
    read_json,
    read_metrics,
    read_origin,
)

SHOWN_MISTAKES = 12  # at most
TEST = (PREDICTIONS, CLASSES)
# What result.json must say, and of what type.
FIGURES = {
    **dict.fromkeys(("test_accuracy", "test_loss", "val_accuracy", "seconds"), float),
    **dict.fromkeys(("test_images", "best_epoch", "params", "macs"), int),
    **{"device": str, "device_count": int, "versions": dict},
}


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no one answer
class RunFiles:
    """What the folder of a run holds.

    Attributes:
      folder: of the run.
      config: its settings.
      origin: content of origin.json; empty where there is none.
      epochs: rows of metrics.csv, at least one.
      result: content of result.json; None where the run is not finished.
      predictions: for the test images; None where older code left none.
      pictures: of the most confident mistakes, bytes of WebP by their numbers in
        `predictions`.
      costs: rows of costs.csv as numbers, by stage; empty where there is none.
    """

    folder: Path
    config: Config
    origin: dict[str, Any]
    epochs: list[dict[str, Any]]
    result: dict[str, Any] | None
    predictions: Answers | None
    pictures: dict[int, bytes]
    costs: dict[str, dict[str, int]]

    @property
    def name(self) -> str:
        return self.folder.absolute().name

    @property
    def images_per_second(self) -> list[float]:
        """Of each epoch."""
        return [row["images_per_second"] for row in self.epochs]


def runs_of_seeds(folder: Path) -> list[Path]:
    """The run folders in that of `--seeds`, by their seeds.

    Raises:
      RunError: there are none.
    """
    found = [
        (int(run.name.removeprefix("seed")), run)
        for run in folder.glob("seed*")
        if re.fullmatch("seed[0-9]+", run.name) and has_run(run)
    ]
    if not found:
        raise RunError(
            f"{folder} holds no run: neither a config.json, nor such a folder seed0, "
            "seed1, ..."
        )
    return [run for _, run in sorted(found)]


def read_run(folder: Path) -> RunFiles:
    """Reads the folder of a run.

    Raises:
      RunError: no epoch is finished, or a file is damaged.
    """
    config = read_config(folder)
    epochs = read_metrics(folder)
    if not epochs:
        raise RunError(f"the run in {folder} has finished no epoch yet")
    result, predictions, pictures, costs = None, None, {}, {}
    if is_finished(folder):
        result = read_result(folder)
    try:
        # What an unfinished run has of them is of an earlier end.
        if result and all((folder / name).is_file() for name in TEST):
            predictions = read_answers(folder)
            pictures = read_pictures(folder / MISTAKES, predictions)
        if result and (folder / COSTS).is_file():
            costs = read_costs(folder / COSTS)
    except (ValueError, KeyError) as error:
        names = ", ".join((*TEST, COSTS))
        raise RunError(f"{names} in {folder}: one is damaged: {error}") from error
    return RunFiles(
        folder,
        config,
        read_origin(folder),
        epochs,
        result,
        predictions,
        pictures,
        costs,
    )


def read_result(folder: Path) -> dict[str, Any]:
    """The content of result.json. Raises RunError where it is not whole."""
    file = folder / RESULT
    result = read_json(file)
    for name, kind in FIGURES.items():
        value = result.get(name)
        if not isinstance(value, (int, float) if kind is float else kind):
            raise RunError(f"{file} is damaged: {name} is {value!r:.50}")
    return result


def read_pictures(folder: Path, predictions: Answers) -> dict[int, bytes]:
    """The pictures of the most confident mistakes by their numbers, in that order.

    Raises:
      RunError: one cannot be read.
    """
    pictures: dict[int, bytes] = {}
    for number in predictions.mistakes.tolist():
        file = folder / f"{predictions.indices[number]}.webp"
        if len(pictures) < SHOWN_MISTAKES and file.is_file():
            try:
                read_image(file)
            except UnreadableImageError as error:
                raise RunError(f"{file} {error}") from error
            pictures[number] = file.read_bytes()
    return pictures


def read_costs(file: Path) -> dict[str, dict[str, int]]:
    """Stage -> its params, macs, dense_params and dense_macs.

    Raises:
      KeyError, ValueError: the file is damaged.
    """
    names = ("params", "macs", "dense_params", "dense_macs")
    return {
        row["stage"]: {name: int(row[name]) for name in names}
        for row in read_table(file)
    }
