"""Files that are written whole: who reads one, or a killed program, sees the old one or
the new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".{name}.unfinished-{process}"  # beside the file that it becomes


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives the path of an unfinished file, which takes the place of `path` at the end,
    once the disk has it; after an error it is removed, and `path` is as it was.

    Raises:
      OSError: it cannot be written; it names the file, also where the disk is full.
    """
    path = Path(path)
    name = UNFINISHED.format(name=path.name, process=os.getpid())
    unfinished = path.with_name(name)
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def write_bytes(file: Path, content: bytes) -> None:
    """Writes a file whole."""
    with replacing(file) as unfinished:
        unfinished.write_bytes(content)


def write_text(file: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8; names of files that are no text are escaped."""
    write_bytes(file, text.encode(errors="backslashreplace"))


def remove_unfinished(folder: Path) -> None:
    """Removes what killed programs left of files that they had not finished."""
    for file in folder.glob(UNFINISHED.format(name="*", process="*")):
        file.unlink(missing_ok=True)
