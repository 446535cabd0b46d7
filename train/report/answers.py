"""What the net of a run answered in the test: right, wrong, and how sure."""

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..evaluate.evaluation import HEADING, class_cells
from ..evaluate.scores import class_table, confusions, seen_classes
from .render import Table
from .runs import RunFiles

MAX_CLASSES = 40  # in a confusion matrix
# In the list of them, beside a matrix and without one.
MAX_CONFUSIONS = {True: 10, False: 40}


def missing(run: RunFiles) -> str | None:
    """Why there is nothing of single test images."""
    if run.predictions is not None:
        return None
    if run.result is None:
        return "The run is not finished: what its test shows comes at the end."
    return (
        "The code of this run did not write predictions.csv and classes.csv yet, which "
        "the confusion matrix, the table of classes and the mistakes are made of. "
        "gpwjax evaluate makes tables and a picture of them."
    )


def confusion_matrix(run: RunFiles) -> dict[str, Any] | None:
    """The classes, and for each its (images, share in percent) by predicted class."""
    if run.predictions is None:
        return None
    seen = seen_classes(run.predictions)
    if len(seen) > MAX_CLASSES:
        return None
    matrix = run.predictions.confusion[np.ix_(seen, seen)]
    shares = np.round(100 * matrix / np.maximum(1, matrix.sum(1, keepdims=True)))
    names = [run.predictions.classes[n] for n in seen]
    cells = zip(matrix.tolist(), shares.astype(int).tolist(), strict=True)
    rows = [list(zip(*row, strict=True)) for row in cells]
    return {"classes": names, "rows": list(zip(names, rows, strict=True))}


def confusion_table(run: RunFiles) -> Table | None:
    """The most frequent confusions; without rows where all was right."""
    if run.predictions is None:
        return None
    found = confusions(run.predictions)
    most = MAX_CONFUSIONS[confusion_matrix(run) is not None]
    rows = [
        (of["true"], of["predicted"], f"{of['images']:,}", f"{of['share']:.1%}")
        for of in found[:most]
    ]
    caption = f"The most frequent confusions, {len(rows)} of {len(found)}"
    return Table(caption, ("true", "taken for", "images", "of the class"), rows)


def classes_table(run: RunFiles) -> Table | None:
    if run.predictions is None:
        return None
    rows = [class_cells(row) for row in class_table(run.predictions)]
    return Table("Each class in the test", HEADING, rows)


def mistakes(run: RunFiles) -> Iterator[dict[str, str]]:
    """The most confident mistakes that there are pictures of."""
    for index, picture in run.pictures.items():
        of = run.predictions
        yield {
            "image": base64.b64encode(picture).decode(),
            "name": of.names[index],
            "true": of.classes[of.labels[index]],
            "predicted": of.classes[of.predicted[index]],
            "probability": f"{of.confidence[index]:.1%}",
        }
