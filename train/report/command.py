"""The command that makes a run again."""

import shlex
from typing import Any

from ..config import NAMES, Config, flatten
from ..presets import DIGITS, default_settings, presets


def command_of(config: Config) -> str:
    """`gpwjax train` with all settings that are not its defaults."""
    words = ["gpwjax", "train"]
    if config.preset in presets():
        default = presets()[config.preset]
        words += ["--preset", config.preset]
    else:
        default = default_settings(config.data)
        if config.recipe != default.recipe:
            default = default_settings(config.data, config.recipe)
            words += ["--recipe", config.recipe]
    usual = flatten(default.to_json())
    if default.preset is None:
        usual["data"] = DIGITS.data
    for name, value in flatten(config.to_json()).items():
        if value != usual[name] and name not in NAMES:
            words += argument(name, value)
    return shlex.join(words)


def argument(name: str, value: Any) -> list[str]:
    """A setting as words of the command line."""
    flag = name.replace("_", "-")
    # pad may be None, so that it is no switch even where it is True.
    if isinstance(flatten(DIGITS.to_json())[name], bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, list | tuple):
        value = ",".join(value) or "none"
    if value is None:
        value = "none" if name == "min_channels" else "None"
    return [f"--{flag}", str(value)]
