"""A contact sheet: images of each class, before and after augmentation."""

import textwrap
from pathlib import Path

import jax
import numpy as np
from PIL import Image, ImageDraw

from gpwjax import captions
from gpwjax.files import replacing

from ..augment import as_input, augment
from ..config import Config
from . import Dataset

SAMPLES = 4  # of each class
CELL = 96  # pixels of an image on the sheet
LABEL = 200  # pixels of a class's name
ROWS = 25  # classes below each other; more go beside
GAP = 16


def write_sheet(dataset: Dataset, config: Config, file: Path) -> None:
    """Writes the sheet as a picture.

    Raises:
      OSError: the file cannot be written.
      KeyError: no picture format has the file's ending.
    """
    with replacing(file) as unfinished:
        kind = Image.registered_extensions()[file.suffix.lower()]
        draw_sheet(dataset, config).save(unfinished, kind)


def draw_sheet(dataset: Dataset, config: Config) -> Image.Image:
    """Draws training images of each class and what a training step makes of them."""
    count = len(dataset.classes)
    columns = -(-count // ROWS)
    rows = min(count, ROWS)
    width = LABEL + 2 * SAMPLES * CELL + 2 * GAP
    sheet = Image.new("RGB", (columns * width, rows * CELL + CELL // 2), "white")
    draw = ImageDraw.Draw(sheet)
    font = captions.font(14)
    for column in range(columns):
        for x, text in ((0, "as they are"), (SAMPLES * CELL + GAP, "augmented")):
            draw.text((column * width + LABEL + x, GAP), text, "black", font)
    for label, name in enumerate(dataset.classes):
        left, top = label // ROWS * width, label % ROWS * CELL + CELL // 2
        draw.text((left + GAP, top + GAP), wrapped(name), "black", font)
        for number, pair in enumerate(
            zip(*samples(dataset, config, label), strict=True)
        ):
            for side, image in enumerate(pair):
                x = left + LABEL + side * (SAMPLES * CELL + GAP) + number * CELL
                cell = Image.fromarray(image).resize((CELL - 4, CELL - 4))
                sheet.paste(cell, (x, top))
    return sheet


def samples(
    dataset: Dataset, config: Config, label: int
) -> tuple[np.ndarray, np.ndarray]:
    """Up to SAMPLES training images of a class, (n, size, size, 3) uint8, and the same
    images augmented."""
    of_class = dataset.train[dataset.labels[dataset.train] == label]
    rng = np.random.default_rng(config.seed)
    chosen = rng.choice(of_class, min(SAMPLES, len(of_class)), replace=False)
    stored = dataset.images[np.sort(chosen)]
    key = jax.random.fold_in(jax.random.key(config.seed), label)
    size = config.image_size or dataset.image_size
    augmented = augment(stored, key, config.augmentation, size)
    return to_bytes(as_input(stored, size)), to_bytes(augmented)


def to_bytes(images: jax.Array) -> np.ndarray:
    """Floats in [0, 1] as uint8."""
    return np.asarray((images * 255).round().clip(0, 255).astype(np.uint8))


def wrapped(name: str) -> str:
    """A class's name in lines that fit beside its images."""
    return "\n".join(textwrap.wrap(captions.drawable(name), width=24, max_lines=4))
