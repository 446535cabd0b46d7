"""The folder of a run: who may use it, and its small files, each written whole."""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train.config import Config, RunError

METRICS = (
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


def check_run_folder(config: Config) -> None:
    """Looks whether the run folder is free, or that of the same configuration.

    Raises:
      RunError: it holds a run of another configuration, or something else.
    """
    folder = config.folder
    try:
        if (folder / "config.json").is_file():
            old = json.loads((folder / "config.json").read_text())
            refuse_other_settings(folder, old, json.loads(settings_text(config)))
        elif folder.is_dir() and any(folder.iterdir()):
            raise RunError(
                f"run folder {folder} is not empty and holds no run: name another with "
                "--run-dir"
            )
    except (OSError, json.JSONDecodeError) as error:
        raise RunError(f"run folder {folder} cannot be read: {error}") from error


def make_run_folder(config: Config) -> None:
    """Makes the run folder with its config.json, or leaves it as it is.

    Raises:
      RunError: it cannot be made.
    """
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
        write_text(config.folder / "config.json", settings_text(config))
    except OSError as error:
        raise RunError(f"cannot make run folder {config.folder}: {error}") from error


def settings_text(config: Config) -> str:
    """The content of config.json."""
    return json.dumps(config.to_json(), indent=2)


def refuse_other_settings(folder: Path, old: dict, new: dict) -> None:
    """Raises RunError naming what differs between two configurations."""
    old, new = flatten(old), flatten(new)
    changes = [
        f"--{name.replace('_', '-')} was {old.get(name)}, now {new.get(name)}"
        for name in {**old, **new}
        if old.get(name) != new.get(name) and name != "preset"  # only a name
    ]
    if changes:
        raise RunError(
            f"run folder {folder} holds a run of another configuration "
            f"({'; '.join(changes)}): name another folder with --run-dir"
        )


def flatten(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as the command line has them, without groups."""
    flat = {}
    for name, value in settings.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat


def write_text(file: Path, text: str) -> None:
    """Writes a file so that a reader, or a killed run, sees the old or the new one."""
    unfinished = file.with_name(f".{file.name}.unfinished")
    with unfinished.open("w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)


def write_skipped(folder: Path, skipped: Sequence[tuple[str, str]]) -> Path:
    """Writes skipped.csv, the files of the data set that could not be read."""
    text = io.StringIO()
    csv.writer(text).writerows([("file", "reason"), *skipped])
    write_text(folder / "skipped.csv", text.getvalue())
    return folder / "skipped.csv"


def write_metrics(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes metrics.csv, one row for each epoch."""
    lines = [METRICS, *([row[name] for name in METRICS] for row in rows)]
    text = "".join(",".join(map(str, line)) + "\n" for line in lines)
    write_text(folder / "metrics.csv", text)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.csv, numbers as numbers; none where there is no file."""
    file = folder / "metrics.csv"
    if not file.is_file():
        return []
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        {k: int(v) if k in ("epoch", "step") else float(v) for k, v in row.items()}
        for row in rows
    ]
