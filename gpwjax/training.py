"""The training program, wherever it is: in a wheel `gpwjax.train`, in a checkout the
folder `train` beside `gpwjax`."""

import logging
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from gpwjax.output import run_program

if TYPE_CHECKING:
    from gpwjax.inference import Classifier

# Command -> what it does. Its module has the same name, but for `train` itself.
PROGRAMS = {
    "train": "train a net on pictures, and test it",
    "evaluate": "test a net on any data set of its classes",
    "report": "build the report of a run, or of several side by side",
    "data": "prepare a data set, show it, and count its images",
}
# Packages of the extra `train` that the programs cannot do without.
PACKAGES = ("tyro", "docstring_parser", "matplotlib", "sklearn", "jinja2")


class NoTrainingError(Exception):
    """The training program, or what it needs, is not installed; shown as one line."""


def main(command: str, args: Sequence[str]) -> int:
    """Runs a program of PROGRAMS; its exit status, or 1 after a line on stderr that
    says why there is none."""
    return run_program(partial(run, command, args))


def run(command: str, args: Sequence[str]) -> int:
    try:
        program = module("__main__" if command == "train" else f"{command}.__main__")
    except NoTrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return program.main(args, f"gpwjax {command}")


def unfinished_net(folder: Path) -> "Classifier":
    """The best net so far of a run that is not finished, which stderr is told.

    Raises:
      NoTrainingError: what reads it is not installed.
      ValueError: there is none yet.
    """
    nets = module("nets")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return nets.load_net(folder).classifier
    except nets.RunError as error:
        raise ValueError(str(error)) from error


def module(name: str) -> ModuleType:
    """A module of the training program.

    Raises:
      NoTrainingError: it, or what it needs, is not installed.
    """
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise NoTrainingError(
            f"there is no {', '.join(missing)}: pip install 'gpwjax[train]' brings "
            "what this needs"
        )
    return import_module(f"{package()}.{name}")


def package() -> str:
    """The name under which the training program can be imported."""
    if find_spec("gpwjax.train") is not None:
        return "gpwjax.train"
    beside = Path(__file__).parents[1] / "train"
    if not (beside / "__init__.py").is_file():
        raise NoTrainingError(f"there is no training program: no {beside}")
    if "train" not in sys.modules:
        sys.path.insert(0, str(beside.parent))  # before others of that name
    found = Path(import_module("train").__file__ or "").parent
    if found != beside:
        raise NoTrainingError(
            f"another package is called train, {found}: it hides {beside}"
        )
    return "train"
