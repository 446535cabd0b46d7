"""From the paths in a table to files."""

import os
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ..config import RunError
from .names import alike, legible


class Locator:
    """Finds files by paths that begin at a folder, or are absolute.

    Where there is none of a name, it is the one whose name differs only in Unicode
    form, case or outer blanks.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.alike_in = cache(alike_in)

    def __call__(self, path: str) -> Path:
        """The file of a path; where there is none, the path as it is written."""
        written = self.folder / path
        if os.path.lexists(written):
            return written
        file = self.folder
        for part in Path(path).parts:
            inner = file / part
            if not os.path.lexists(inner):
                found = self.alike_in(file).get(alike(part), [])
                if len(found) != 1:
                    return written
                inner = file / found[0]
            file = inner
        return file

    def check(self, rows: Sequence[tuple[int, str]]) -> None:
        """Looks whether at least one file is there.

        Args:
          rows: the lines and paths of a table.

        Raises:
          RunError: none is; it names the first, and what was probably meant.
        """
        if any(os.path.lexists(self(path)) for _, path in rows):
            return
        line, path = rows[0]
        file = self.folder.absolute() / path
        try:
            file.stat()
        except (OSError, ValueError) as error:  # ValueError: no file has such a name
            reason = getattr(error, "strerror", None) or error
            raise RunError(
                f"line {line}: names no file that is there, nor does any other line: "
                f"{legible(str(file))}: {reason}{self.hint(path)}"
            ) from error

    def hint(self, path: str) -> str:
        """What a path that leads nowhere was probably meant to be."""
        turned = path.replace("\\", "/")
        if turned != path and os.path.lexists(self(turned)):
            return f". It is there as {legible(turned)}: write / in place of \\"
        if turned != path:
            return ". Paths are written with / in place of \\"
        if os.path.lexists(path):
            return f". Paths begin at the table's folder, not at {Path.cwd()}"
        return ". Paths begin at the table's folder"


def alike_in(folder: Path) -> dict[str, list[str]]:
    """The names in a folder, by what those that are `alike` have in common."""
    names = defaultdict(list)
    try:
        for name in os.listdir(folder):
            names[alike(name)].append(name)
    except (OSError, ValueError):
        pass
    return names
