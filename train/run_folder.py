"""What the folder of a run holds, and its small files."""

import csv
import io
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gpwjax.files import write_text
from gpwjax.places import CONFIG, WEIGHTS  # noqa: F401  as others of a run folder

from .config import Augmentation, Config, RunError

log = logging.getLogger(__name__)

ORIGIN = "origin.json"  # what data, code and versions it began with
METRICS = "metrics.csv"  # a row for each epoch
CHECKPOINTS = "checkpoints"
BROKEN = "broken_checkpoints"  # what could not be read
SKIPPED = "skipped.csv"  # files of the data set that could not be read
TENSORBOARD = "tensorboard"
# At the end:
PREDICTIONS, CLASSES = "predictions.csv", "classes.csv"  # of the test images
CONFUSIONS, CALIBRATION = "confusion.csv", "calibration.csv"
COSTS = "costs.csv"  # of each stage of the net
RESULT = "result.json"  # marks a run as finished
CURVES, CONFUSION, HEATMAPS = "curves.png", "confusion.png", "heatmaps.png"
MISTAKES = "mistakes"  # pictures
REPORT = "report.html"
EVALUATION = "evaluation"  # what `evaluate` leaves
SEEDS = "seeds.csv"  # beside the run folders of several seeds

COLUMNS = (  # of metrics.csv
    "epoch",
    "step",
    "lr",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "images_per_second",
    "seconds",
)


def has_run(folder: Path) -> bool:
    """Whether a run has begun in the folder."""
    return (folder / CONFIG).is_file()


def is_finished(folder: Path) -> bool:
    return (folder / RESULT).is_file()


def of_seed(folder: Path, seed: int) -> Path:
    """The run folder of one of several seeds, in the folder of them all."""
    return folder / f"seed{seed}"


def write_config(config: Config) -> None:
    write_text(config.folder / CONFIG, json.dumps(config.to_json(), indent=2))


def read_config(folder: Path) -> Config:
    """The settings of a run; those that its code did not have are the defaults.

    Raises:
      RunError: the file holds something else.
    """
    file = folder / CONFIG
    settings = read_json(file)
    for name in ("data", "model"):
        if not isinstance(settings.get(name, ""), str):
            raise RunError(f"{file} holds no settings of a run: {name} is no text")
    try:
        changes = Augmentation(**settings.pop("augmentation", {}))
        freeze = tuple(settings.pop("freeze", ()))
        for name in ("init", "teacher"):
            path = settings.get(name)
            settings[name] = path and Path(path)
        return Config(**settings, augmentation=changes, freeze=freeze)
    except (TypeError, ValueError) as error:
        raise RunError(f"{file} holds no settings of a run: {error}") from error


def read_origin(folder: Path) -> dict[str, Any]:
    """The content of origin.json, or nothing. Raises RunError where it is not whole."""
    file = folder / ORIGIN
    origin = read_json(file) if file.is_file() else {}
    for name in ("versions", "net"):
        if not isinstance(origin.get(name, {}), dict):
            raise RunError(f"{file} is damaged: {name} are {origin[name]!r:.50}")
    return origin


def read_place(folder: Path) -> str | None:
    """Where the data of a run are, an absolute path; None for a data set by name."""
    place = read_origin(folder).get("place")
    return place if isinstance(place, str) else None


def write_skipped(folder: Path, skipped: Sequence[tuple[str, str]]) -> Path:
    """Writes skipped.csv, the files of the data set that could not be read."""
    text = io.StringIO()
    csv.writer(text).writerows([("file", "reason"), *skipped])
    write_text(folder / SKIPPED, text.getvalue())
    return folder / SKIPPED


def write_metrics(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes metrics.csv, one row for each epoch."""
    lines = [COLUMNS, *([row[name] for name in COLUMNS] for row in rows)]
    text = "".join(",".join(map(str, line)) + "\n" for line in lines)
    write_text(folder / METRICS, text)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.csv, numbers as numbers; none where there is no file.

    Left out, with a warning, are lines that are not whole.
    """
    file = folder / METRICS
    return list(whole_rows(file)) if file.is_file() else []


def whole_rows(file: Path) -> Iterator[dict[str, Any]]:
    lines = file.read_text(errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines[1:], start=2):
        try:
            yield parse_metrics(line)
        except ValueError:
            log.warning("left out line %d of %s, which is not whole", number, file)


def parse_metrics(line: str) -> dict[str, Any]:
    """A row of metrics.csv. Raises ValueError where it is not whole."""
    if not line.endswith("\n"):
        raise ValueError("a line that was cut")
    row = dict(zip(COLUMNS, line.split(","), strict=True))
    return {k: int(v) if k in ("epoch", "step") else float(v) for k, v in row.items()}


def read_json(file: Path) -> dict[str, Any]:
    """An object from a file of JSON.

    Raises:
      RunError: it cannot be read, or is something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise RunError(f"{file} must hold a JSON object, got {str(content)[:50]}")
    return content
