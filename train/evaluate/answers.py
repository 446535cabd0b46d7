"""What a net answers to images."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from .tables import Row


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no one answer
class Answers:
    """The class predicted for each of N images, and how sure the net is.

    Attributes:
      classes: names of the net's classes.
      labels: (N,) the true classes, as numbers of `classes`.
      predicted: (N,) the most probable class, the first of those that are equally so.
      confidence: (N,) its probability.
      indices: (N,) numbers of the images in the data set.
      names: of the images, N.
      logits: (N, classes), finite; None where the answers were read from a folder,
        which has none.
    """

    classes: Sequence[str]
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    indices: np.ndarray
    names: Sequence[str]
    logits: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        classes: Sequence[str],
        labels: np.ndarray,
        logits: np.ndarray,
        indices: np.ndarray | None = None,
        names: Sequence[str] | None = None,
    ) -> "Answers":
        """The answers that logits say; images without numbers are counted from 0, and
        those without names are called by their numbers."""
        if indices is None:
            indices = np.arange(len(labels))
        if names is None:
            names = [str(index) for index in indices]
        confidence = np.exp(log_probabilities(logits).max(axis=1))
        predicted = logits.argmax(axis=1)
        return cls(classes, labels, predicted, confidence, indices, names, logits)

    @property
    def right(self) -> np.ndarray:
        """(N,) whether the most probable class is the true one."""
        return self.predicted == self.labels

    @property
    def losses(self) -> np.ndarray:
        """(N,) cross-entropy of each answer that has logits."""
        chosen = np.arange(len(self.labels)), self.labels
        return -log_probabilities(self.logits)[chosen]

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
        (wrong,) = np.nonzero(~self.right)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]

    def rows(self) -> list[Row]:
        """The table of all images, for predictions.csv."""
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


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """(N, classes) float64, in which no probability is 0."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
