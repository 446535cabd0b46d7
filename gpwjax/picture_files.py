"""Which files are meant by a folder of pictures: the same for training and predicting.

All visible files are, whatever their names: what a file holds decides whether it can be
read, and what cannot is named by who reads it.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from gpwjax.pictures import FORMATS

LITTER = {"thumbs.db", "desktop.ini", "__macosx"}  # left by Windows and macOS


def is_visible(name: str) -> bool:
    """Whether a file or folder of that name is looked at."""
    return not name.startswith(".") and name.lower() not in LITTER


def has_image_name(file: Path) -> bool:
    """Whether a file is of FORMATS by the ending of its name."""
    return Image.registered_extensions().get(file.suffix.lower()) in FORMATS


def is_picture(file: Path) -> bool:
    """Whether a file is of FORMATS by its name, or else by its content."""
    if has_image_name(file):
        return True
    # Pillow raises many kinds of errors; opening a pipe would block.
    with contextlib.suppress(Exception):
        if file.is_file():
            Image.open(file, formats=FORMATS).close()
            return True
    return False


def files_below(folder: Path) -> list[Path]:
    """All visible files below a folder, sorted. Links to folders are among them, not
    followed: they may lead in a circle.

    Raises:
      OSError: a folder cannot be listed.
      RecursionError: folders are nested too deep.
    """

    def fail(error: OSError) -> None:
        raise error

    found = []
    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = filter(is_visible, folders)
        links = [f for f in folders if os.path.islink(os.path.join(parent, f))]
        found += [Path(parent, f) for f in links + files if is_visible(f)]
    return sorted(found)


def find_pictures(paths: Iterable[Path]) -> list[Path]:
    """The paths, each folder replaced by the files below it as of `files_below`.

    Raises:
      ValueError: a folder holds no file, or folders nested too deep.
      OSError: a folder cannot be listed.
    """
    found: list[Path] = []
    for path in paths:
        try:
            below = files_below(path) if os.path.isdir(path) else [path]
        except RecursionError as error:
            raise ValueError(f"the folders in {path} are nested too deep") from error
        if not below:
            raise ValueError(f"there is no picture ({', '.join(FORMATS)}) in {path}")
        found += below
    return found
