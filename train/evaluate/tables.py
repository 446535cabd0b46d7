"""Tables as .csv files."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gpwjax.files import write_text

Row = dict[str, Any]  # of a table, by column; None where there is no value


def write_table(file: Path, rows: Sequence[Row]) -> None:
    """Writes a .csv file with a header; what has no value is empty."""
    write_rows(file, [rows[0].keys(), *([*row.values()] for row in rows)])


def write_rows(file: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Writes a .csv file, floats with the digits that a float32 has."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [f"{value:.7g}" if isinstance(value, float) else value for value in row]
        for row in rows
    )
    write_text(file, text.getvalue())


def read_table(file: Path) -> list[dict[str, str]]:
    """The rows of a .csv file with a header.

    Raises:
      OSError: it cannot be read.
      ValueError: it is no table of text, or a row has not as many cells as the header.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            header, *lines = csv.reader(stream, strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return [dict(zip(header, line, strict=True)) for line in lines]
