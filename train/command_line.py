"""From the arguments of `python -m train` to a configuration."""

import argparse
import difflib
from collections.abc import Sequence

import tyro

from .config import Config
from .presets import default_settings, preset_table, presets


def parse(args: Sequence[str]) -> Config:
    """The configuration of a command line. A wrong one ends the program, status 2."""
    # What the defaults depend on is read first.
    first = argparse.ArgumentParser(
        prog="python -m train", add_help=False, allow_abbrev=False
    )
    first.add_argument("--data")
    first.add_argument("--recipe")
    first.add_argument("--preset")
    first.add_argument("--list-presets", action="store_true")
    known, _ = first.parse_known_args(args)
    if known.list_presets:
        print(preset_table())
        raise SystemExit(0)
    if known.preset is not None:
        if known.preset not in presets():
            first.error(unknown_preset(known.preset))
        if known.recipe is not None:
            first.error(
                f"--recipe must be left out with --preset, which has a whole recipe, "
                f"got {known.recipe}"
            )
        default = presets()[known.preset]
    else:
        default = default_settings(known.data, known.recipe)
    return tyro.cli(Config, default=default, args=args, prog="python -m train")


def unknown_preset(name: str) -> str:
    near = difflib.get_close_matches(name, presets(), n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"--preset must be one of those of --list-presets, got {name!r}{hint}"
