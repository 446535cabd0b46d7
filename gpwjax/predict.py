"""A net's answers to pictures in files, as text, JSON and CSV."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from gpwjax.deep_pictures import Range
from gpwjax.inference import BATCH_SIZE, NOT_FINITE, Classifier, value_range
from gpwjax.pictures import UnreadableImageError, read_image

BAR = 20  # characters that stand for a probability of 1


class Answer(NamedTuple):
    """A net's answer to a picture.

    Attributes:
      path: of the picture.
      predictions: classes and their probabilities, the most probable first.
      error: why there are no predictions: the picture cannot be read, or the net's
        numbers for it are not finite; else None.
    """

    path: Path
    predictions: list[tuple[str, float]]
    error: str | None


def answers(
    classifier: Classifier, files: Sequence[Path], top: int, mirror: bool = False
) -> Iterator[Answer]:
    """An answer of the `top` most probable classes to each file, in their order.

    BATCH_SIZE pictures are read at a time; a bar shows it where there are more, on a
    terminal. `mirror` as of `Classifier.predict`.
    """
    hidden = len(files) <= BATCH_SIZE or not sys.stderr.isatty()
    with tqdm(total=len(files), unit="img", disable=hidden, dynamic_ncols=True) as bar:
        for start in range(0, len(files), BATCH_SIZE):
            batch = files[start : start + BATCH_SIZE]
            errors: dict[int, str] = {}
            images = readable(batch, value_range(classifier.metadata), errors)
            rows = iter(classifier.predict(images, mirror))
            bar.clear()  # whoever takes the answers may print them
            for number, file in enumerate(batch):
                error = errors.get(number)
                row = None if error else next(rows)
                if row is not None and not np.isfinite(row).all():
                    error = NOT_FINITE
                found = [] if error else best(classifier, row, top)
                yield Answer(file, found, error)
            bar.update(len(batch))


def readable(
    files: Iterable[Path], values: Range, errors: dict[int, str]
) -> Iterator[np.ndarray]:
    """The pictures that can be read; why others cannot goes to `errors`, by number.
    `values` as of `read_image`."""
    for number, file in enumerate(files):
        try:
            yield read_image(file, values=values)
        except UnreadableImageError as error:
            errors[number] = str(error)


def best(
    classifier: Classifier, probabilities: np.ndarray, top: int
) -> list[tuple[str, float]]:
    """The `top` most probable classes, the first of equals first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    # With the digits that a float32 has.
    return [(classifier.classes[i], float(f"{probabilities[i]:.7g}")) for i in order]


def as_text(answers: Iterable[Answer], width: int) -> Iterator[str]:
    """For people, a block of lines for each picture; `width` is that of the classes."""
    for path, predictions, error in answers:
        lines = [
            f"  {name:{width}}  {probability:7.2%}  {'#' * round(BAR * probability)}"
            for name, probability in predictions
        ]
        if error is None:
            yield "\n".join([str(path), *map(str.rstrip, lines)])


def as_csv(answers: Iterable[Answer]) -> Iterator[str]:
    """A header, then a row for each picture and class."""
    yield "path,rank,class,probability"
    for path, predictions, error in answers:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            (path, rank, *prediction) for rank, prediction in enumerate(predictions, 1)
        )
        if error is None:
            yield text.getvalue().rstrip("\n")


def as_json(answers: Iterable[Answer]) -> Iterator[str]:
    """One array, with an object for each picture."""
    entries = []
    for path, predictions, error in answers:
        entry = {"path": str(path)}
        if error is None:
            pairs = [{"class": c, "probability": p} for c, p in predictions]
            entries.append(entry | {"predictions": pairs})
        else:
            entries.append(entry | {"error": error})
    yield json.dumps(entries, indent=2, allow_nan=False)
