"""Where a person's files are, and ours."""

import os
from argparse import ArgumentTypeError
from pathlib import Path

# In the folder of a run: its settings, and its net once it is finished.
CONFIG, WEIGHTS = "config.json", "model.safetensors"


class NoHomeError(ArgumentTypeError, ValueError):
    """There is no home folder of the user that a path names; argparse shows it."""


def user_path(text: str | os.PathLike) -> Path:
    """A path of a command line, in which ~ is the home folder after `=` too, where
    shells leave it as it is.

    Raises:
      NoHomeError: there is no such home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise NoHomeError(f"there is no home folder for {text}") from error


def cache_folder() -> Path | None:
    """The user's cache folder of ours; None where there can be none: a user without a
    home folder, or one that cannot be written."""
    import platformdirs  # not at the top: `import gpwjax` does without

    try:
        folder = platformdirs.user_cache_path("gpwjax")
        if not folder.is_absolute():  # older platformdirs leave the ~ as it is
            return None
        folder.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError):  # RuntimeError: there is no home
        return None
    return folder if os.access(folder, os.W_OK) else None
