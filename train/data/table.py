"""A CSV file that lists images: path, label, and the split if it has one."""

import csv
import dataclasses
import io
import logging
import reprlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from gpwjax.deep_pictures import FULL_RANGE
from gpwjax.pictures import read_image

from ..config import RunError
from .locate import Locator
from .names import SAME_CLASS, class_key, plain, printable, shown, split_named
from .source import Source, consecutive, digest_of, file_stamp

log = logging.getLogger(__name__)

MAX_BYTES = 100_000_000  # of a table, some two million images

# For messages: a value may be of any length.
short = reprlib.Repr()
short.maxlist, short.maxstring = 20, 200


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One image of a table; `split` is train, val, test, or all where it has none."""

    line: int
    path: str
    label: str
    split: str


def source(file: Path) -> Source:
    """The images that a CSV file lists, UTF-8, with the columns path, label and, for
    images that are split already, split. Paths start at the file's folder.

    Raises:
      RunError: the file cannot be read, or a line of it is wrong.
    """
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise RunError(f"is too large: {size} bytes, at most {MAX_BYTES}")
        content = file.read_bytes()
        locate = Locator(file.parent)
        rows, repeats = without_repeats(read_table(content), locate)
        splits = split_rows(rows)
        locate.check([(row.line, row.path) for row in rows])
    except OSError as error:
        raise RunError(f"cannot read {file}: {error.strerror}") from error
    except RunError as error:
        raise RunError(f"{file} {error}") from error
    rows = [row for part in splits.values() for row in part]
    files = [locate(row.path) for row in rows]
    classes = name_classes(row.label for row in rows)
    labels = {key: label for label, key in enumerate(classes)}
    log.info("%s: %s; %d classes", file.name, layout(splits), len(classes))
    return Source(
        name=printable(file.stem),
        digest=digest_of([content, *map(file_stamp, files)]),
        classes=tuple(classes.values()),
        splits=consecutive({split: len(part) for split, part in splits.items()}),
        size=None,
        read=lambda number, values=FULL_RANGE: (
            read_image(files[number], values=values),
            labels[class_key(rows[number].label)],
        ),
        describe=lambda number: rows[number].path,
        file=files.__getitem__,
        place=file.absolute(),
        skipped=repeats,
    )


def read_table(content: bytes) -> list[Row]:
    """The rows of a CSV file.

    Raises:
      RunError: naming the line that is wrong.
    """
    lines = numbered_lines(content)
    line, header = next(lines, (1, []))
    header = [name.strip() for name in header]
    columns = {name: header.count(name) for name in ("path", "label", "split")}
    if columns["path"] != 1 or columns["label"] != 1 or columns["split"] > 1:
        raise RunError(
            f"line {line}: must name the columns path and label, and may name split, "
            f"each once and separated by commas, got {short.repr(header)}"
        )
    rows = [to_row(line, header, values) for line, values in lines]
    if not rows:
        raise RunError(f"line {line}: must be followed by a row for each image")
    without = [row for row in rows if row.split == "all"]
    if 0 < len(without) < len(rows):
        row = without[0]
        raise RunError(
            f"line {row.line}: has no split, other lines have one: "
            f"{short.repr(row.path)}"
        )
    return rows


def to_row(line: int, header: Sequence[str], values: Sequence[str]) -> Row:
    """The values of one line as a row.

    Raises:
      RunError: a value is missing or wrong.
    """
    if len(values) != len(header):
        raise RunError(
            f"line {line}: has {len(values)} values for {len(header)} columns (one "
            f"that holds a comma must be in quotes): {short.repr(values)}"
        )
    by_column = dict(zip(header, values, strict=True))
    for name, value in (
        ("path", by_column["path"]),
        ("label", by_column["label"].strip()),
    ):
        if not value:
            raise RunError(f"line {line}: the {name} is empty: {short.repr(values)}")
    name = by_column.get("split", "").strip()
    split = split_named(name) if name else "all"
    if split is None:
        raise RunError(
            f"line {line}: the split must be train, val, test, or another common name "
            f"of one of them, got {short.repr(name)}"
        )
    return Row(line, by_column["path"], plain(by_column["label"]), split)


def name_classes(labels: Iterable[str]) -> dict[str, str]:
    """Key of each class, as of `class_key`, -> its name, in the order of the names;
    warns of labels that are taken for the same class."""
    spellings = defaultdict(set)
    for label in labels:
        spellings[class_key(label)].add(label)
    several = [shown(sorted(names)) for names in spellings.values() if len(names) > 1]
    if several:
        log.warning(SAME_CLASS, " / ".join(several))
    names = {key: min(labels) for key, labels in spellings.items()}
    return dict(sorted(names.items(), key=lambda item: item[1]))


def layout(splits: Collection[str]) -> str:
    """What a table says of splits, for people."""
    if len(splits) == 1:
        return "no splits, so its images are split into training, validation and test"
    return f"the images of {', '.join(splits)} as its column split says"


def numbered_lines(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """The number of each line that is not blank, and its values.

    Raises:
      RunError: naming the line that is no UTF-8 or no CSV.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        wrong = error.object[error.start : error.end]
        raise RunError(f"line {line}: must be UTF-8, got {wrong}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1  # where it begins: values may hold line breaks
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise RunError(f"line {line}: {error}") from error
        if fields:
            yield line, fields


def without_repeats(
    rows: Iterable[Row], locate: Callable[[str], Path]
) -> tuple[list[Row], list[tuple[str, str]]]:
    """The rows but for those that only repeat one; (path, reason) of each of those.

    Raises:
      RunError: two rows say different things of one file.
    """
    first: dict[Path, Row] = {}
    repeats = []
    for row in rows:
        known = first.setdefault(locate(row.path), row)
        for name in ("label", "split"):
            value, before = getattr(row, name), getattr(known, name)
            if class_key(value) != class_key(before):
                raise RunError(
                    f"line {row.line}: {short.repr(row.path)} has {name} "
                    f"{short.repr(value)}, on line {known.line} {short.repr(before)}"
                )
        if known is not row:
            repeats.append((row.path, f"line {row.line} repeats line {known.line}"))
    return list(first.values()), repeats


def split_rows(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Split -> its rows, the training split first; {"all": rows} for one pool.

    Raises:
      RunError: no row is for training.
    """
    splits = {
        split: [row for row in rows if row.split == split]
        for split in ("all", "train", "val", "test")
    }
    splits = {split: part for split, part in splits.items() if part}
    if not {"all", "train"} & splits.keys():
        raise RunError(f"has no row of split train, only of {', '.join(splits)}")
    return splits
