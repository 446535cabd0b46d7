"""Settings of runs, and run folders as `python -m train` leaves them, without a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from train.config import Augmentation, Config
from train.evaluate.answers import Answers
from train.evaluate.scores import class_table
from train.evaluate.tables import write_table
from train.run_folder import COLUMNS, write_metrics

PLAIN = Config("cats", preset=None, epochs=3, image_size=32, min_channels=16)
# Of runs on the digits as they are, without what is modern in the preset.
DIGITS = Config(
    data="digits",
    recipe="own",
    image_size=8,
    small_images=True,
    batch_norm_momentum=0.95,
    epochs=48,
    batch_size=32,
    optimizer="adam",
    cycle_epochs=48,
    augmentation=Augmentation(flip=False, rotation=15, shift=0.1, shear=10, zoom=0.15),
)
VERSIONS = {"jax": "1.2", "numpy": "3.4"}


def make_run(
    folder: Path,
    config: Config = PLAIN,
    classes: tuple[str, ...] = ("cat", "dog", "giraffe"),
    images: int = 30,
    finished: bool = True,
) -> Path:
    """Writes all files of a run that the report is made of."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(config.seed)
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    origin = {"data": "d" * 64, "code": "c" * 12, "versions": VERSIONS}
    (folder / "origin.json").write_text(json.dumps(origin))
    write_metrics(folder, [made_epoch(n, rng) for n in range(1, config.epochs + 1)])
    if finished:
        write_test(folder, config, classes, images, rng)
    return folder


def made_epoch(number: int, rng: np.random.Generator) -> dict[str, Any]:
    row = dict(zip(COLUMNS, rng.uniform(0.1, 0.9, len(COLUMNS)).round(4), strict=True))
    return row | {"epoch": number, "step": 10 * number}


def write_test(
    folder: Path,
    config: Config,
    classes: tuple[str, ...],
    images: int,
    rng: np.random.Generator,
) -> None:
    """Writes what a run leaves of its test. A third of the answers are wrong."""
    labels = np.arange(images) % len(classes)
    predicted = np.where(np.arange(images) % 3, labels, (labels + 1) % len(classes))
    answers = Answers(
        classes,
        labels,
        predicted,
        rng.uniform(0.5, 1, images).astype(np.float32),
        np.arange(100, 100 + images),
        [f"{classes[label]}/{number}.png" for number, label in enumerate(labels)],
    )
    write_table(folder / "predictions.csv", answers.rows())
    write_table(folder / "classes.csv", class_table(answers))
    (folder / "mistakes").mkdir()
    for number in answers.mistakes[:12]:
        noise = rng.integers(0, 255, (64, 128, 3)).astype(np.uint8)
        picture = Image.fromarray(noise).resize((512, 256))
        name = f"{answers.indices[number]}.webp"
        picture.save(folder / "mistakes" / name, quality=80, method=0)
    names = ("params", "macs", "dense_params", "dense_macs")
    costs = [
        {"stage": stage, **dict(zip(names, (100, 2000, 900, 8000), strict=True))}
        for stage in ("stem", "stage 1", "head")
    ]
    write_table(folder / "costs.csv", costs)
    result = {
        "test_accuracy": float((labels == predicted).mean()),
        "test_loss": 0.5,
        "test_images": images,
        "val_accuracy": 0.75,
        "best_epoch": config.epochs,
        "params": 300,
        "macs": 6000,
        "seconds": 12.5,
        "device": "cpu",
        "device_count": 2,
        "versions": VERSIONS,
        "seed": config.seed,
    }
    (folder / "result.json").write_text(json.dumps(result))
