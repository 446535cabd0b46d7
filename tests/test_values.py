"""A data set of 16-bit pictures is scaled by its own range, in all programs alike."""

import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gpwjax
import train.evaluate.__main__
from gpwjax.cli import main
from train.config import Config, RunError
from train.data import load_dataset
from train.loop import fit
from train.process.stop import StopRequest

LOW, HIGH = 100, 4095  # of the training pictures


@pytest.fixture
def cells(tmp_path, monkeypatch) -> Path:
    """A folder of 16-bit pictures in three parts; those to test on have a wider range,
    and one picture has 8 bits."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for part, low, high in (("train", LOW, HIGH), ("val", 200, 300), ("test", 0, 9000)):
        for name in ("alive", "dead"):
            (tmp_path / "cells" / part / name).mkdir(parents=True)
            for number in range(8):
                values = rng.integers(low, high, (8, 8), np.uint16)
                values[0, 0], values[0, 1] = low, high
                file = tmp_path / "cells" / part / name / f"{number}.png"
                Image.fromarray(values).save(file)
    Image.new("L", (8, 8), 77).save(tmp_path / "cells" / "train" / "alive" / "8.png")
    return tmp_path / "cells"


def config_of(cells: Path, **settings) -> Config:
    settings = {"image_size": 8, "model": "tiny", "batch_size": 8} | settings
    return Config(str(cells), run_dir=cells.parent / "run", epochs=1, **settings)


def expected(file: Path) -> np.ndarray:
    """The picture (8, 8, 3), as uint8."""
    values = np.asarray(Image.open(file)).astype(float)
    scaled = np.round(255 * np.clip((values - LOW) / (HIGH - LOW), 0, 1))
    return scaled[..., None].repeat(3, -1).astype(np.uint8)


def test_the_range_is_that_of_the_training_pictures(cells):
    data = load_dataset(config_of(cells, range_16_bit=None))
    assert data.values == (LOW, HIGH)
    for number in data.test:
        image = data.images[number]
        np.testing.assert_allclose(image, expected(data.file(number)), atol=1)
    given = load_dataset(config_of(cells, range_16_bit=f"{LOW}-{HIGH}"))
    np.testing.assert_array_equal(given.images, data.images)
    black = load_dataset(config_of(cells)).images[data.val]
    assert black.max() == 1


def test_a_range_that_cannot_be_found_is_one_error(cells):
    config = Config("digits", range_16_bit=None)
    with pytest.raises(RunError, match="auto is for pictures in files, which digits"):
        load_dataset(config)
    for file in (cells / "train").rglob("*.png"):
        Image.fromarray(np.full((8, 8), 5, np.uint16)).save(file)
    with pytest.raises(RunError, match="all 16-bit pictures of cells are of one value"):
        load_dataset(config_of(cells, range_16_bit=None))


def test_pictures_of_8_bits_have_no_range(cells):
    for file in cells.rglob("*.png"):
        Image.new("L", (8, 8), 99).save(file)
    data = load_dataset(config_of(cells, range_16_bit=None))
    assert data.values == (0, 65535)
    assert (data.images == 99).all()


@pytest.mark.parametrize(
    "text", ["4095", "5-5", "9-3", "0-65536", "-1-5", "a-b", "1-2-3"]
)
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ValueError, match="--range-16-bit must be two rising integers"):
        Config("digits", range_16_bit=text)


def test_a_trained_net_sees_pictures_as_in_training(
    tiny_runs, cells, monkeypatch, capsys
):
    config = config_of(cells, range_16_bit=None)
    result = fit(config, StopRequest())
    net = gpwjax.load(config.run_dir / "model.safetensors")
    assert net.metadata["range_16_bit"] == [LOW, HIGH]
    assert fit(config, StopRequest()) == result  # the same command goes on

    file = cells / "test" / "dead" / "3.png"
    assert main(["predict", str(config.run_dir), str(file), "--csv"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    probabilities = {row[2]: float(row[3]) for row in rows}
    (found,) = net.predict([expected(file)])
    for name, probability in zip(net.classes, found, strict=True):
        assert probabilities[name] == pytest.approx(probability, abs=0.01)

    # Elsewhere there are only pictures of another range.
    shutil.move(cells / "test", cells.parent / "others")
    monkeypatch.setattr("train.evaluate.__main__.keep_memory", lambda: None)
    monkeypatch.setattr("gpwjax.devices.use_compilation_cache", lambda: None)
    out = cells.parent / "evaluation"
    args = [config.run_dir, "--data", cells.parent / "others", "--part", "all"]
    monkeypatch.setattr(
        sys, "argv", ["train.evaluate", *map(str, args), "--out", str(out)]
    )
    level = logging.getLogger("train").level
    assert train.evaluate.__main__.main() == 0
    logging.getLogger("train").setLevel(level)
    summary = (out / "summary.json").read_text()
    assert f'"accuracy": {result["test_accuracy"]}' in summary
