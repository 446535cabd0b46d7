"""The folder of a run: who may use it, and its small files, each written whole."""

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import logging
import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gpwjax

from .config import Config, RunError
from .data import Dataset
from .process.commit import commit_of
from .process.hosts import is_first
from .process.locks import LOCK, FolderInUseError, exclusive
from .recipes import AUTOMATIC

log = logging.getLogger(__name__)

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
NAMES = ("preset", "recipe")  # of settings that are settings themselves
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


def check_run_folder(config: Config) -> Config:
    """Looks whether the run folder is free, or that of the same configuration.

    Returns:
      The configuration; what it leaves to the data set is as the folder's run has it.

    Raises:
      RunError: it holds a run of another configuration, or something else.
    """
    folder = config.folder
    try:
        if (folder / "config.json").is_file():
            old = read_json(folder / "config.json")
            new = json.loads(settings_text(config))
            if place_of(config) is not None:
                del new["data"]  # by another path it may be the same: `check_origin`
                old.pop("data", None)
            open_settings = (name for name in AUTOMATIC if new[name] is None)
            left_open = {name: old[name] for name in open_settings if name in old}
            refuse_other_settings(folder, old, new | left_open)
            return dataclasses.replace(config, **left_open)
        if folder.is_dir() and any(is_visible(entry) for entry in folder.iterdir()):
            raise RunError(
                f"run folder {folder} is not empty and holds no run: name another with "
                "--run-dir"
            )
    except OSError as error:
        raise RunError(f"run folder {folder} cannot be read: {error}") from error
    except ValueError as error:
        raise RunError(f"{folder / 'config.json'} is damaged: {error}") from error
    return config


def make_run_folder(config: Config) -> None:
    """Makes the run folder with its config.json, or leaves it as it is.

    Raises:
      RunError: it cannot be made, or cannot be written.
    """
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
        if not (config.folder / "config.json").is_file():
            write_text(config.folder / "config.json", settings_text(config))
        (config.folder / LOCK).touch()
    except OSError as error:
        raise RunError(
            f"cannot make run folder {config.folder}, or write in it: {error}"
        ) from error


def place_of(config: Config) -> Path | None:
    """The absolute path of a data set that is no name of one but a folder or table."""
    path = Path(config.data).expanduser()
    return path.absolute() if config.data != "digits" and path.exists() else None


def is_at_same_place(config: Config) -> bool:
    """Whether the data set is where the run's was, so that it need not be compared."""
    place = place_of(config)
    return read_place(config.folder) == (place and str(place))


def read_place(folder: Path) -> str | None:
    """Where the data of a run are, an absolute path; None for a data set by name."""
    origin = folder / "origin.json"
    place = read_json(origin).get("place") if origin.is_file() else None
    return place if isinstance(place, str) else None


def is_visible(entry: Path) -> bool:
    """Hidden files are what a run leaves that was killed while it began."""
    return not entry.name.startswith(".")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a run folder; the system frees it when a process dies.

    Raises:
      RunError: another process has it.
    """
    if not is_first():
        yield
        return
    try:
        with exclusive(folder):
            yield
    except FolderInUseError as error:
        raise RunError(
            f"run folder {folder} is in use by {error}: wait for it, or name another "
            "folder with --run-dir"
        ) from error


def check_origin(folder: Path, dataset: Dataset) -> None:
    """Writes origin.json, what data and code the run began with, or compares with it.

    Other code is only warned of: it may be a repair.

    Raises:
      RunError: the data are others.
    """
    new = {
        "data": dataset.digest(),
        "place": dataset.place and str(dataset.place),
        "code": code_digest(),
        "commit": commit_of("gpwjax", "train"),
        "versions": {name: version(name) for name in PACKAGES},
    }
    file = folder / "origin.json"
    if not file.is_file():
        write_text(file, json.dumps(new, indent=2))
        return
    before, now = flatten(read_json(file)), flatten(new)
    data = before.pop("data", None)
    if data != now.pop("data"):
        raise RunError(
            f"run folder {folder} holds a run on other data: the SHA-256 of the "
            f"images of {dataset.name} was {data}, now {new['data']}. Name another "
            "folder with --run-dir"
        )
    if before.pop("place", None) != now.pop("place"):
        write_text(
            file, json.dumps(read_json(file) | {"place": new["place"]}, indent=2)
        )
    del now["commit"]  # the digest says whether the code is another
    for name in now:
        if before.get(name) != now[name]:
            log.warning(
                "since this run began, %s changed from %s to %s: its result may differ",
                "the code of gpwjax and train" if name == "code" else name,
                before.get(name),
                now[name],
            )


def code_digest() -> str:
    """SHA-256 of the source files of the two packages, shortened."""
    sha = hashlib.sha256()
    for package in (Path(gpwjax.__file__).parent, Path(__file__).parent):
        for file in sorted(package.rglob("*.py")):
            sha.update(f"{file.relative_to(package.parent)}\n".encode())
            sha.update(file.read_bytes())
    return sha.hexdigest()[:12]


def settings_text(config: Config) -> str:
    """The content of config.json."""
    return json.dumps(config.to_json(), indent=2)


def refuse_other_settings(folder: Path, old: dict, new: dict) -> None:
    """Raises RunError naming what differs between two configurations.

    A setting that the code of the old one did not have was what is now its default.
    """
    old, new, default = map(flatten, (old, new, Config("").to_json()))
    changes = [
        f"--{name.replace('_', '-')} was {before}, now {new.get(name)}"
        for name in {**old, **new}
        if name not in NAMES
        and (before := old.get(name, default.get(name))) != new.get(name)
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
    """As `write_bytes`, in UTF-8."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a killed run, sees the old or the new one."""
    unfinished = file.with_name(f".{file.name}.unfinished")
    with unfinished.open("wb") as stream:
        stream.write(content)
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
    """The rows of metrics.csv, numbers as numbers; none where there is no file.

    Left out, with a warning, are lines that are not whole.
    """
    file = folder / "metrics.csv"
    if not file.is_file():
        return []
    rows = []
    lines = file.read_text(errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines[1:], start=2):
        try:
            rows.append(parse_metrics(line))
        except ValueError:
            log.warning("left out line %d of %s, which is not whole", number, file)
    return rows


def parse_metrics(line: str) -> dict[str, Any]:
    """A row of metrics.csv. Raises ValueError where it is not whole."""
    if not line.endswith("\n"):
        raise ValueError("a line that was cut")
    row = dict(zip(METRICS, line.split(","), strict=True))
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
