"""Data of one's own with the defaults, and the whole net: it learns from few pictures
and from many."""

import colorsys
import dataclasses
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.command_line import parse
from train.loop import fit
from train.process.stop import StopRequest

CLASSES = 3


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # as pytest has them


def make_hues(folder: Path, count: int, size: int = 8) -> None:
    """Noisy pictures of one hue for each class."""
    rng = np.random.default_rng(count)
    for label in range(CLASSES):
        color = 255 * np.array(colorsys.hsv_to_rgb(0.37 * label % 1, 0.8, 0.9))
        (folder / f"hue{label}").mkdir(parents=True)
        for number in range(count):
            pixels = rng.normal(color, 25, (size, size, 3)).clip(0, 255)
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(folder / f"hue{label}" / f"{number}.png")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "settings"),
    [
        (1, []),
        (2, []),
        (10, []),
        (100, ["--epochs", "10"]),
        (1000, ["--epochs", "2"]),
    ],
)
def test_the_defaults_never_end_at_chance(tmp_path, images, settings):
    """However many training pictures of a class there are."""
    parts = {"train": images, "val": 10, "test": 20}
    for part, count in parts.items():
        make_hues(tmp_path / "hues" / part, count)
    config = parse(["--data", str(tmp_path / "hues"), *settings])
    result = fit(dataclasses.replace(config, run_dir=tmp_path / "run"), StopRequest())
    # By chance 20 of 60 are right, and more than 31 in one of a thousand trainings.
    assert result["test_accuracy"] > 31 / 60
