"""The presets against the paper's tables and recipe."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from train.command_line import parse
from train.config import Augmentation
from train.presets import paper_rows, presets


def test_there_is_one_for_each_row_that_is_not_inception():
    with (Path(__file__).parents[1] / "train/paper_results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] != "inception_v3"]
    assert len(rows) == len(paper_rows()) == 34
    assert len(presets()) == 2 * 34 + 3 + 1  # ConvMixer's, that of digits


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cifar10-mobilenet-16ch", ("cifar10", 16, 224, False, 64, 50, True)),
        ("cifar10-efficientnet_b0-dense", ("cifar10", None, 224, False, 32, 50, True)),
        ("cifar10-efficientnet_b0-16ch-32", ("cifar10", 16, 32, True, 64, 50, True)),
        ("cifar100-efficientnet_b0-32ch", ("cifar100", 32, 224, False, 64, 50, True)),
        (
            "cropped_plantdoc-mobilenet_v3_large-32ch",
            ("cropped_plantdoc", 32, 224, False, 64, 75, False),
        ),
        (
            "oxford_iiit_pet-efficientnet_b0-16ch",
            ("oxford_iiit_pet", 16, 224, False, 32, 150, False),
        ),
    ],
)
def test_a_preset_is_the_papers_recipe(name, settings):
    config = parse(["--preset", name])
    assert settings == (
        *(config.data, config.min_channels, config.image_size, config.small_images),
        *(config.batch_size, config.epochs, config.augment_val),
    )
    assert (config.optimizer, config.schedule, config.lr) == ("rmsprop", "cycle", 1e-3)
    plantdoc = config.data == "cropped_plantdoc"
    assert config.split == ("paper" if plantdoc else "clean")
    shift = 0.1 if plantdoc else 0.0
    assert config.augmentation == Augmentation(True, 20, 0.3, 0.2, 0.3, shift)
    pet = config.data == "oxford_iiit_pet"
    assert (config.pad, config.resize) == (
        (True, "nearest") if pet else (None, "bilinear")
    )


def test_other_settings_change_a_preset():
    config = parse(
        ["--preset", "cifar10-mobilenet-16ch", "--epochs", "3", "--zoom", "0"]
    )
    assert (config.epochs, config.augmentation.zoom, config.image_size) == (3, 0, 224)


def test_a_modern_one_has_the_net_and_the_data_of_its_row():
    paper, modern = (
        parse(["--preset", f"{prefix}cifar10-mobilenet-16ch"])
        for prefix in ("", "modern-")
    )
    for name in (
        "data",
        "split",
        "model",
        "min_channels",
        "image_size",
        "small_images",
    ):
        assert getattr(paper, name) == getattr(modern, name)
    assert (modern.optimizer, modern.schedule, modern.dtype) == (
        *("adamw", "cosine", "bfloat16"),
    )


@pytest.mark.parametrize(("variant", "channels"), [("dense", None), ("32ch", 32)])
def test_convmixer_has_the_modern_recipe(variant, channels):
    config = parse(["--preset", f"modern-cifar10-convmixer-{variant}"])
    of_mobilenet = parse(["--preset", "modern-cifar10-mobilenet-16ch"])
    assert config == replace(
        of_mobilenet,
        preset=f"modern-cifar10-convmixer-{variant}",
        model="convmixer",
        min_channels=channels,
        image_size=32,
    )


def test_the_list_has_the_papers_figures(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["--list-presets"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (x for x in lines if x.startswith("cifar10-mobilenet-16ch "))
    assert line.split()[1:] == ["224", "64", "50", "244,298", "92.0", "89.81"]
    assert len([x for x in lines if x.endswith("%") and "slip" in x]) == 2
