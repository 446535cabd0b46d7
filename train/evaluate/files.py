"""The tables that a test leaves in a folder, and what can be read of them."""

from pathlib import Path

import numpy as np

from ..run_folder import CALIBRATION, CLASSES, CONFUSIONS, PREDICTIONS
from .answers import Answers
from .scores import calibration_table, class_table
from .tables import read_table, write_rows, write_table


def write_answers(folder: Path, answers: Answers) -> None:
    """Writes predictions.csv, classes.csv, confusion.csv and calibration.csv."""
    write_table(folder / PREDICTIONS, answers.rows())
    write_table(folder / CLASSES, class_table(answers))
    write_table(folder / CALIBRATION, calibration_table(answers))
    columns = zip(answers.classes, *answers.confusion.T, strict=True)
    write_rows(folder / CONFUSIONS, [("true", *answers.classes), *columns])


def read_answers(folder: Path) -> Answers:
    """What `write_answers` wrote, but for the logits.

    Raises:
      OSError: a file cannot be read.
      KeyError, ValueError: a file is not as it was written.
    """
    classes = [row["class"] for row in read_table(folder / CLASSES)]
    number = {name: n for n, name in enumerate(classes)}
    rows = read_table(folder / PREDICTIONS)
    return Answers(
        classes,
        np.array([number[row["true"]] for row in rows], int),
        np.array([number[row["predicted"]] for row in rows], int),
        np.array([float(row["probability"]) for row in rows]),
        np.array([int(row["index"]) for row in rows], int),
        [row["image"] for row in rows],
    )
