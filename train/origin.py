"""What a run began with: its settings, data and code, which it goes on with."""

import contextlib
import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

import gpwjax
from gpwjax.files import remove_unfinished, write_text

from .config import NAMES, Config, RunError, flatten
from .data import Dataset
from .data.names import printable
from .process.commit import commit_of
from .process.hosts import is_first
from .process.locks import LOCK, FolderInUseError, exclusive
from .recipes import AUTOMATIC
from .run_folder import (
    CONFIG,
    ORIGIN,
    has_run,
    read_json,
    read_origin,
    read_place,
    write_config,
)

log = logging.getLogger(__name__)

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def check_run_folder(config: Config) -> Config:
    """Looks whether the run folder is free, or that of the same configuration.

    Returns:
      The configuration; what it leaves to the data set is as the folder's run has it.

    Raises:
      RunError: it holds a run of another configuration, or something else.
    """
    folder = config.folder
    path = str(folder.absolute())
    if path != (shown := printable(path)):
        raise RunError(
            f"run folder {shown}: checkpoints need a path that is UTF-8; name another "
            "folder with --run-dir"
        )
    try:
        if has_run(folder):
            old = read_json(folder / CONFIG)
            new = json.loads(json.dumps(config.to_json()))
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
        raise RunError(f"{folder / CONFIG} is damaged: {error}") from error
    return config


def make_run_folder(config: Config) -> None:
    """Makes the run folder with its config.json, or leaves it as it is.

    Raises:
      RunError: it cannot be made, or cannot be written.
    """
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
        if not has_run(config.folder):
            write_config(config)
        (config.folder / LOCK).touch()
    except OSError as error:
        raise RunError(
            f"cannot make run folder {config.folder}, or write in it: {error}"
        ) from error


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
            remove_unfinished(folder)
            yield
    except FolderInUseError as error:
        raise RunError(
            f"run folder {folder} is in use by {error}: wait for it, or name another "
            "folder with --run-dir"
        ) from error


def place_of(config: Config) -> Path | None:
    """The absolute path of a data set that is no name of one but a folder or table."""
    path = Path(config.data).expanduser()
    return path.absolute() if config.data != "digits" and path.exists() else None


def is_at_same_place(config: Config) -> bool:
    """Whether the data set is where the run's was, so that it need not be compared."""
    place = place_of(config)
    return read_place(config.folder) == (place and str(place))


def with_own_data(folder: Path, config: Config) -> Config:
    """The settings of a run, its data named so that they are found from anywhere.

    Raises:
      RunError: they are not there any more.
    """
    place = read_place(folder)
    if place is None:
        return config
    if Path(place).exists():
        return dataclasses.replace(config, data=place)
    here = Path(config.data).expanduser().absolute()
    if not here.exists():
        raise RunError(
            f"the data of {folder} are neither where they were, {place}, nor in "
            f"{here}, which their name means from {Path.cwd()}: name them with --data"
        )
    log.warning("the data of %s were in %s: taking %s", folder, place, here)
    return dataclasses.replace(config, data=str(here))


def is_visible(entry: Path) -> bool:
    """Hidden files are what a run leaves that was killed while it began."""
    return not entry.name.startswith(".")


def check_origin(
    folder: Path, dataset: Dataset, teacher: gpwjax.Classifier | None = None
) -> None:
    """Writes origin.json, what data and code the run began with, or compares with it.

    Raises:
      RunError: the data are others, or the teacher is.
    """
    new = origin_of(dataset, teacher)
    before = read_origin(folder)
    if not before:
        write_text(folder / ORIGIN, json.dumps(new, indent=2))
        return
    parts = {"data": f"on other data: the SHA-256 of the images of {dataset.name}"}
    if teacher is not None:
        parts["teacher"] = "with another teacher: the SHA-256 of its weights"
    for part, what in parts.items():
        if before.get(part) != new[part]:
            raise RunError(
                f"run folder {folder} holds a run {what} was {before.get(part)}, now "
                f"{new[part]}. Name another folder with --run-dir"
            )
    # Older code wrote no `net`.
    found = before | {name: new[name] for name in ("place", "net")}
    if found != before:
        write_text(folder / ORIGIN, json.dumps(found, indent=2))
    warn_of_changes(before, new)


def origin_of(dataset: Dataset, teacher: gpwjax.Classifier | None) -> dict[str, Any]:
    """The content of origin.json of a run that begins now."""
    return {
        "data": dataset.digest(),
        "place": dataset.place and str(dataset.place),
        "code": code_digest(),
        "commit": commit_of("gpwjax", "train"),
        "versions": {name: version(name) for name in PACKAGES},
        "device": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "net": about_net(dataset),
        "teacher": teacher and digest_of(teacher),
    }


def warn_of_changes(before: dict[str, Any], new: dict[str, Any]) -> None:
    """Other code is only warned of: it may be a repair. The digest says whether it is
    other code, the commit where it may be found."""
    was = {"code": before.get("code")} | before.get("versions", {})
    for name, now in ({"code": new["code"]} | new["versions"]).items():
        if was.get(name) != now:
            log.warning(
                "since this run began, %s changed from %s to %s: its result may differ",
                "the code of gpwjax and train" if name == "code" else name,
                was.get(name),
                now,
            )


def about_net(dataset: Dataset) -> dict[str, Any]:
    """What the weights file of a net says of the images that it was trained on."""
    return {
        "classes": list(dataset.classes),
        "stored_size": dataset.stored_size,
        "pad": dataset.pad,
        "resize": dataset.resize,
        "range_16_bit": list(dataset.values),
        "data": dataset.name,
    }


def digest_of(net: gpwjax.Classifier) -> str:
    """SHA-256 of the weights of a net."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(net.variables):
        sha.update(jax.tree_util.keystr(path).encode())
        sha.update(np.ascontiguousarray(leaf))
    return sha.hexdigest()


def code_digest() -> str:
    """SHA-256 of the source files of the two packages, shortened: the same in a
    checkout and where they are installed."""
    library, program = Path(gpwjax.__file__).parent, Path(__file__).parent
    files = {
        f"{name}/{file.relative_to(package).as_posix()}": file
        for name, package in (("gpwjax", library), ("train", program))
        for file in package.rglob("*.py")
        if package == program or program not in file.parents
    }
    sha = hashlib.sha256()
    for name in sorted(files):
        sha.update(f"{name}\n".encode())
        sha.update(files[name].read_bytes())
    return sha.hexdigest()[:12]


def refuse_other_settings(folder: Path, old: dict, new: dict) -> None:
    """Raises RunError naming what differs between two configurations.

    A setting that the code of the old one did not have was what is now its default.
    """
    default = json.loads(json.dumps(Config("").to_json()))
    old, new, default = map(flatten, (old, new, default))
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
