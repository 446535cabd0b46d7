"""The pictures and the report of a finished run, drawn from what its folder holds.

They come last and cost no run: what a kill or a fault left undrawn is drawn later.
"""

import dataclasses
import io
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import gpwjax
from gpwjax import explain
from train.data import Dataset, load_dataset
from train.figures import plot_confusion, plot_curves
from train.predictions import Predictions, read_predictions
from train.report.build import NAME, build_report
from train.report.runs import is_run, read_config, read_result, runs_of_seeds
from train.run_folder import read_metrics, read_place, write_bytes

log = logging.getLogger(__name__)

HEATMAPS = 12  # images of heatmaps.png
MISTAKES = 12  # pictures of the most confident mistakes, at most


def draw_missing(folder: Path, load: Callable[[], Dataset]) -> None:
    """Draws the pictures and the report that a finished run lacks; a warning says what
    cannot be drawn. Arguments as of `draw_pictures`."""
    drawn = draw_pictures(folder, load)
    if drawn or not (folder / NAME).is_file():
        try_to_draw(folder / NAME, lambda: build_report(folder))


def draw_pictures(folder: Path, load: Callable[[], Dataset]) -> bool:
    """Draws the pictures that a finished run lacks; whether there are new ones.

    Args:
      load: gives the run's data set, which the heat maps need.
    """
    pictures = {
        "curves.png": lambda: draw_curves(folder),
        "confusion.png": lambda: draw_confusion(folder),
        "heatmaps.png": lambda: draw_heatmaps(folder, load(), read_predictions(folder)),
    }
    missing = [name for name in pictures if not (folder / name).is_file()]
    drawn = [try_to_draw(folder / name, pictures[name]) for name in missing]
    return any(drawn)


def draw_pictures_of(folder: Path) -> None:
    """As `draw_pictures`, of a run folder or of all those in a folder of `--seeds`,
    whether they are finished or not."""
    for run in [folder] if is_run(folder) else runs_of_seeds(folder):
        if (run / "result.json").is_file():
            config = read_config(run / "config.json")
            if place := read_place(run):  # whose path in the settings may be relative
                config = dataclasses.replace(config, data=place)
            draw_pictures(run, partial(load_dataset, config))


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
    best = read_result(folder / "result.json")["best_epoch"]
    plot_curves(read_metrics(folder), best, folder / "curves.png")


def draw_confusion(folder: Path) -> None:
    answers = read_predictions(folder)
    plot_confusion(answers.confusion, answers.classes, folder / "confusion.png")


def draw_heatmaps(folder: Path, dataset: Dataset, answers: Predictions) -> None:
    """Where the net sees the class that it finds: in test images from the first to the
    last, which may be in the order of their classes, and in those that it got wrong
    with the highest probability."""
    classifier = gpwjax.load(folder / "model.safetensors")
    if note := explain.size_of_a_map(classifier):
        log.warning("heat maps: %s", note)

    def draw(number: int) -> Image.Image:
        title = f"true class: {answers.classes[answers.labels[number]]}"
        image = np.asarray(dataset.images[answers.indices[number]])
        return explain.draw(classifier, image, title)

    numbers = np.linspace(0, len(answers.labels) - 1, HEATMAPS).astype(int)
    drawn = [draw(number) for number in np.unique(numbers)]
    mistakes = folder / "mistakes"
    mistakes.mkdir(exist_ok=True)
    for number in answers.mistakes[:MISTAKES]:
        picture = draw(number)
        below = (0, explain.CAPTION, *picture.size)  # the report says it in words
        content = io.BytesIO()
        picture.crop(below).save(content, "WEBP", quality=80)
        write_bytes(mistakes / f"{answers.indices[number]}.webp", content.getvalue())
    # The last one, since it tells that the others are there.
    unfinished = folder / ".heatmaps.png.unfinished"
    explain.write(drawn, unfinished)
    unfinished.replace(folder / "heatmaps.png")
