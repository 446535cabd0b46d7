"""What a net answered to the test images of its run, in the run's folder."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from .scores import class_table
from .tables import Row, read_table, write_table


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The class predicted for each of N images.

    It has what the functions of `scores` ask of answers, but for the logits.

    Attributes:
      classes: names of the net's classes.
      labels: (N,) the true classes, as numbers of `classes`.
      predicted: (N,) the most probable class.
      confidence: (N,) its probability.
      indices: (N,) numbers of the images in the data set.
      names: of the images, N.
    """

    classes: Sequence[str]
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    indices: np.ndarray
    names: Sequence[str]

    @cached_property
    def confusion(self) -> np.ndarray:
        """(classes, classes) images of each class (row) taken for each (column)."""
        matrix = np.zeros(2 * (len(self.classes),), int)
        np.add.at(matrix, (self.labels, self.predicted), 1)
        return matrix

    @cached_property
    def mistakes(self) -> np.ndarray:
        """Numbers from 0 to N - 1 of the images that were taken for one of another
        class, those of the highest probability first."""
        (wrong,) = np.nonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]

    def write(self, folder: Path) -> None:
        """Writes predictions.csv and classes.csv."""
        write_table(folder / "predictions.csv", self._rows())
        write_table(folder / "classes.csv", class_table(self))

    def _rows(self) -> list[Row]:
        columns = (self.indices, self.names, self.labels, self.predicted)
        return [
            {
                "index": int(index),
                "image": name,
                "true": self.classes[label],
                "predicted": self.classes[predicted],
                "probability": float(probability),
            }
            for index, name, label, predicted, probability in zip(
                *columns, self.confidence, strict=True
            )
        ]


def read_predictions(folder: Path) -> Predictions:
    """What `Predictions.write` wrote.

    Raises:
      OSError: a file cannot be read.
      KeyError, ValueError: a file is not as it was written.
    """
    classes = [row["class"] for row in read_table(folder / "classes.csv")]
    number = {name: n for n, name in enumerate(classes)}
    rows = read_table(folder / "predictions.csv")
    return Predictions(
        classes,
        np.array([number[row["true"]] for row in rows], int),
        np.array([number[row["predicted"]] for row in rows], int),
        np.array([float(row["probability"]) for row in rows]),
        np.array([int(row["index"]) for row in rows], int),
        [row["image"] for row in rows],
    )
