"""The recipes, and the settings that follow the data set."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made_runs import DIGITS
from PIL import Image

from train.command_line import parse
from train.config import Config, RunError
from train.data import load_dataset
from train.presets import presets
from train.recipes import described, norm_momentum, settled


def dataset(images: int, image_size: int = 32) -> SimpleNamespace:
    values = (0, 65535)
    return SimpleNamespace(
        train=np.arange(images), image_size=image_size, values=values
    )


def settle(args: str, images: int, image_size: int = 32, devices: int = 1) -> Config:
    return settled(parse(args.split()), dataset(images, image_size), devices)


@pytest.mark.parametrize(
    ("args", "recipe", "optimizer"),
    [
        ("--data pets", "own", "adamw"),
        ("--data pets.csv", "own", "adamw"),
        ("--data some_prepared_set", "own", "adamw"),
        ("--data pets --recipe paper", "paper", "rmsprop"),
        ("--data pets --recipe modern", "modern", "adamw"),
        ("--data cifar10", "paper", "rmsprop"),
        ("--data cifar10 --recipe own", "own", "adamw"),
        ("--preset cifar10-mobilenet-16ch", "paper", "rmsprop"),
        ("--preset modern-cifar10-mobilenet-16ch", "modern", "adamw"),
        ("--recipe own", "own", "adamw"),
    ],
)
def test_the_recipe_is_what_the_data_set_is(args, recipe, optimizer):
    config = parse(args.split())
    assert (config.recipe, config.optimizer) == (recipe, optimizer)


@pytest.mark.parametrize("name", presets())
def test_nothing_of_a_preset_is_left_to_the_data_set(name):
    config = presets()[name]
    large, small = (settled(config, dataset(n), devices=1) for n in (45_000, 1_258))
    assert large == small


def test_a_preset_and_a_recipe_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["--preset", "cifar10-mobilenet-16ch", "--recipe", "own"])
    assert ended.value.code == 2
    assert "--recipe must be left out with --preset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "batch_size", "epochs"),
    [
        (3, 3, 300),  # a step an epoch
        (24, 8, 100),  # 3 steps
        (225, 8, 50),
        (4_500, 32, 40),
        (45_000, 64, 30),
    ],
)
def test_batches_and_epochs_follow_the_number_of_images(images, batch_size, epochs):
    config = settle("--data pets", images)
    assert (config.batch_size, config.epochs) == (batch_size, epochs)


@pytest.mark.parametrize(("devices", "batch_size"), [(3, 6), (8, 8), (16, 16)])
def test_the_devices_divide_the_batch(devices, batch_size):
    assert settle("--data pets", 225, devices=devices).batch_size == batch_size


@pytest.mark.parametrize(
    ("image_size", "is_small"), [(28, True), (63, True), (64, False), (224, False)]
)
def test_images_below_64_pixels_are_small_unless_it_is_set(image_size, is_small):
    assert settle("--data pets", 225, image_size).small_images == is_small
    for flag, value in {"--small-images": True, "--no-small-images": False}.items():
        config = settle(f"--data pets {flag}", 225, image_size)
        assert config.small_images == value


def test_what_is_set_stays():
    args = "--data pets --image-size 48 --batch-size 20 --epochs 3 --warmup-epochs 1"
    config = settle(f"{args} --batch-norm-momentum 0.5", 225)
    assert config.image_size == 48
    assert (config.batch_size, config.epochs, config.warmup_epochs) == (20, 3, 1)
    assert config.batch_norm_momentum == 0.5
    with pytest.raises(RunError, match="--warmup-epochs must be from 0 to below"):
        settle("--data pets --warmup-epochs 900", 225)


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (9, 0), (25, 2), (80, 5)])
@pytest.mark.parametrize("recipe", ["own", "modern"])
def test_the_warm_up_is_a_tenth_of_the_epochs(recipe, epochs, warmup):
    config = settle(f"--data pets --recipe {recipe} --epochs {epochs}", 225)
    assert config.warmup_epochs == warmup


def test_cycles_have_no_warm_up():
    assert settle("--data pets --schedule cycle", 225).warmup_epochs == 0


@pytest.mark.parametrize(
    ("steps", "momentum"),
    [(1, 0.9), (500, 0.9), (1_000, 0.95), (2_500, 0.98), (5_000, 0.99), (10**6, 0.99)],
)
def test_batch_statistics_are_of_the_last_fiftieth_of_the_steps(steps, momentum):
    """So that they fit the weights: 10 steps at least, at most the paper's 100."""
    assert norm_momentum(steps) == momentum


def test_other_recipes_have_the_papers_batch_statistics():
    for recipe in ("paper", "modern"):
        config = settle(f"--data pets --recipe {recipe}", 225)
        assert config.batch_norm_momentum is None


@pytest.mark.parametrize(("recipe", "batch_size"), [("paper", 64), ("modern", 128)])
def test_batches_of_other_recipes_are_no_larger_than_the_data(recipe, batch_size):
    args = f"--data pets --recipe {recipe}"
    assert settle(args, 20).batch_size == 20
    assert settle(args, 2_000).batch_size == batch_size


def make_pictures(folder: Path, *sizes: tuple[int, int]) -> Path:
    """A folder of two classes with pictures of these widths and heights in each."""
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            image = Image.new("RGB", sizes[number % len(sizes)], (number, 9, 9))
            image.save(folder / name / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("sizes", "image_size"),
    [
        ([(32, 32)], 32),
        ([(28, 28)], 28),
        ([(3, 3)], 8),
        ([(100, 120)], 96),
        ([(640, 480)], 224),
        ([(48, 60), (48, 90), (500, 400)], 48),  # the median
    ],
)
def test_the_image_size_follows_the_pictures(tmp_path, monkeypatch, sizes, image_size):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = make_pictures(tmp_path / "pets", *sizes)
    data = load_dataset(parse(["--data", str(folder)]))
    assert data.image_size == data.stored_size == image_size


def test_padded_pictures_are_as_large_as_their_longer_side(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = make_pictures(tmp_path / "pets", (20, 50))
    data = load_dataset(parse(["--data", str(folder), "--pad", "True"]))
    assert data.image_size == 50


def test_the_line_of_a_run_names_the_recipe_and_what_follows_the_data():
    line = described(settle("--data pets", 225))
    assert line.startswith("recipe own: 50 epochs in batches of 8; adamw, cosine from")
    assert "batch norm momentum 0.9643" in line  # of 28 of 1,400 steps
    assert line.endswith("images of 32x32, strides for small images")


def test_that_of_the_papers_recipe_names_its_cycles():
    config = dataclasses.replace(DIGITS, recipe="paper", optimizer="rmsprop")
    assert "rmsprop, cycles from 0.001" in described(config)
