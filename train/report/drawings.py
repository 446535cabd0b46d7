"""The pictures and the report of a finished run, drawn from what its folder holds.

They come last and cost no run: what a kill or a fault left undrawn is drawn later.
"""

import io
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import gpwjax
from gpwjax import explain
from gpwjax.canvas import Figure, own_settings
from gpwjax.files import replacing, write_bytes

from ..data import Dataset, load_dataset
from ..evaluate.answers import Answers
from ..evaluate.figures import plot_confusion, save
from ..evaluate.files import read_answers
from ..origin import with_own_data
from ..run_folder import (
    CONFUSION,
    CURVES,
    HEATMAPS,
    MISTAKES,
    REPORT,
    WEIGHTS,
    has_run,
    is_finished,
    read_config,
    read_metrics,
)
from ..validation import best_row
from .build import build_report
from .curves import curves
from .paper import paper_curves, paper_row
from .plots import line_picture
from .runs import runs_of_seeds

log = logging.getLogger(__name__)

MAPS = 12  # images of heatmaps.png
MISTAKES_DRAWN = 12  # the most confident ones, at most


def draw_missing(folder: Path, load: Callable[[], Dataset]) -> None:
    """Draws the pictures and the report that a finished run lacks; a warning says what
    cannot be drawn. Arguments as of `draw_pictures`."""
    drawn = draw_pictures(folder, load)
    if drawn or not (folder / REPORT).is_file():
        try_to_draw(folder / REPORT, lambda: build_report(folder))


def draw_pictures(folder: Path, load: Callable[[], Dataset]) -> bool:
    """Draws the pictures that a finished run lacks; whether there are new ones.

    Args:
      load: gives the run's data set, which the heat maps need.
    """
    pictures = {
        CURVES: lambda: draw_curves(folder),
        CONFUSION: lambda: draw_confusion(folder),
        HEATMAPS: lambda: draw_heatmaps(folder, load(), read_answers(folder)),
    }
    missing = [name for name in pictures if not (folder / name).is_file()]
    drawn = [try_to_draw(folder / name, pictures[name]) for name in missing]
    return any(drawn)


def draw_pictures_of(folder: Path) -> None:
    """As `draw_pictures`, of a run folder or of all those in a folder of `--seeds`,
    whether they are finished or not."""
    for run in [folder] if has_run(folder) else runs_of_seeds(folder):
        if is_finished(run):
            draw_pictures(run, partial(load_own_data, run))


def load_own_data(folder: Path) -> Dataset:
    """The data set of a run."""
    return load_dataset(with_own_data(folder, read_config(folder)))


def try_to_draw(file: Path, draw: Callable[[], object]) -> bool:
    """Whether a file could be drawn; a warning says why not."""
    try:
        draw()
        return True
    # Of any kind: of fonts, of the data set, of the disk.
    except Exception as error:
        log.warning(
            "the run is finished, but %s could not be drawn: %s; the same command "
            "tries again",
            file,
            error,
        )
        return False


def draw_curves(folder: Path) -> None:
    with own_settings():
        save(curves_picture(folder), folder / CURVES)


def curves_picture(folder: Path) -> Figure:
    """The curves of a run, finished or not, and of the authors' where it trains a row
    of the paper; inside `own_settings`."""
    config, epochs = read_config(folder), read_metrics(folder)
    authors = paper_curves(paper_row(config))
    best = best_row(epochs, config.first_best)
    return line_picture(curves(epochs, authors), best["epoch"])


def draw_confusion(folder: Path) -> None:
    answers = read_answers(folder)
    plot_confusion(answers.confusion, answers.classes, folder / CONFUSION)


def draw_heatmaps(folder: Path, dataset: Dataset, answers: Answers) -> None:
    """Where the net sees the class that it finds: in test images from the first to the
    last, which may be in the order of their classes, and in those that it got wrong
    with the highest probability."""
    classifier = gpwjax.load(folder / WEIGHTS)
    if note := explain.size_of_a_map(classifier):
        log.warning("heat maps: %s", note)

    def draw(number: int) -> Image.Image:
        title = f"true class: {answers.classes[answers.labels[number]]}"
        image = np.asarray(dataset.images[answers.indices[number]])
        return explain.draw(classifier, image, title)

    numbers = np.linspace(0, len(answers.labels) - 1, MAPS).astype(int)
    drawn = [draw(number) for number in np.unique(numbers)]
    mistakes = folder / MISTAKES
    mistakes.mkdir(exist_ok=True)
    for number in answers.mistakes[:MISTAKES_DRAWN]:
        picture = draw(number)
        below = (0, explain.CAPTION, *picture.size)  # the report says it in words
        content = io.BytesIO()
        picture.crop(below).save(content, "WEBP", quality=80)
        write_bytes(mistakes / f"{answers.indices[number]}.webp", content.getvalue())
    # The last one, since it tells that the others are there.
    with replacing(folder / HEATMAPS) as unfinished:
        explain.write(drawn, unfinished)
