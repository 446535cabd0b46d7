"""The rows of the paper's tables as configurations, and a modern recipe for each."""

import csv
import dataclasses
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .config import Augmentation, Config
from .recipes import MODERN, modern_epochs, own_data

RESULTS = Path(__file__).with_name("paper_results.csv")
NOT_OURS = "inception_v3"  # a net of the paper's tables that gpwjax does not have

# For 8x8 pixels and 1,258 training images, enlarged to 32 since the ordinary strides
# take less time than those for small images, and the changes of an image blur it less.
# Chosen by validation: benchmarks/README.md, "The digits".
DIGITS = Config(
    data="digits",
    recipe="own",
    image_size=32,
    batch_norm_momentum=0.95,
    epochs=60,
    batch_size=32,
    optimizer="adamw",
    schedule="cosine",
    lr=16e-3,
    warmup_epochs=None,
    label_smoothing=0.1,
    ema=0.99,
    best_after=2 / 3,
    augmentation=Augmentation(flip=False, rotation=15, shift=0.1, shear=10, zoom=0.15),
)

# What the paper did otherwise for a data set than the defaults (Section 4).
RECIPES: dict[str, dict[str, Any]] = {
    "cifar10": {"data": "cifar10", "augment_val": True},
    "cifar100": {"data": "cifar100", "augment_val": True},
    "plantdoc": {
        "data": "cropped_plantdoc",
        "split": "paper",
        "augmentation": Augmentation(channel_shift=0.1),
    },
    "oxford_iiit_pet": {
        "data": "oxford_iiit_pet",
        "batch_size": 32,
        "pad": True,
        "resize": "nearest",
    },
}


@cache
def paper_rows() -> dict[str, dict[str, str]]:
    """Name of a preset -> its row of the paper's tables, for the nets that we have."""
    with RESULTS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] != NOT_OURS]
    return {name_of(row): row for row in rows}


def name_of(row: dict[str, str]) -> str:
    """cifar10-efficientnet_b0-16ch-32: data, net, variant, and 32 where the net is one
    for 224 pixels otherwise."""
    channels = row["channels_per_group"]
    parts = [
        RECIPES[row["dataset"]]["data"],
        row["model"],
        f"{channels}ch" if channels else "dense",
    ]
    if row["input"] != "224" and row["model"] != "densenet_bc_l100":
        parts.append(row["input"])
    return "-".join(parts)


@cache
def presets() -> dict[str, Config]:
    """All presets by name: the paper's, a modern one for each and for ConvMixer, which
    the paper does not have, and that of digits."""
    paper = {name: of_paper(name, row) for name, row in paper_rows().items()}
    modern = [of_today(config) for config in [*paper.values(), *convmixers()]]
    digits = dataclasses.replace(DIGITS, preset="digits-mobilenet-16ch")
    others = {config.preset: config for config in [*modern, digits]}
    return paper | others


def of_paper(name: str, row: dict[str, str]) -> Config:
    """The whole recipe of a row (Section 4)."""
    size, channels = int(row["input"]), row["channels_per_group"]
    settings = {
        "preset": name,
        "model": row["model"],
        "min_channels": int(channels) if channels else None,
        "image_size": size,
        "small_images": size == 32,
        "epochs": int(row["epochs"]),
        **RECIPES[row["dataset"]],
    }
    if (row["dataset"], row["model"], size) == ("cifar10", "efficientnet_b0", 224):
        settings["batch_size"] = 32
    return Config(**settings)


def convmixers() -> Iterator[Config]:
    """ConvMixer on CIFAR-10, dense and grouped, with the paper's recipe."""
    for min_channels in (None, 16, 32):
        config = Config(
            model="convmixer",
            min_channels=min_channels,
            image_size=32,
            **RECIPES["cifar10"],
        )
        name = f"{config.data}-{config.model}-{config.variant}"
        yield dataclasses.replace(config, preset=name)


def of_today(config: Config) -> Config:
    """The modern recipe for the net, the data and the split of a row."""
    return dataclasses.replace(
        config,
        preset=f"modern-{config.preset}",
        **modern_epochs(config),
        **MODERN,
    )


def default_settings(data: str | None, recipe: str | None = None) -> Config:
    """What a command line without a preset starts from.

    Args:
      data: as `--data` names it; None: the digits.
      recipe: as `--recipe` names it; None: the paper's for its data sets, that of the
        digits for them, and `own` for all others.
    """
    if recipe is None and data in (None, DIGITS.data):
        return DIGITS
    data = data or DIGITS.data
    if data not in {settings["data"] for settings in RECIPES.values()}:
        return Config(data, **own_data(recipe or "own"))
    paper = Config(data)
    if recipe == "own":
        return Config(data, **own_data(recipe))
    if recipe == "modern":
        return dataclasses.replace(paper, **modern_epochs(paper), **MODERN)
    return paper


def preset_table() -> str:
    """What `--list-presets` shows: the presets with the paper's figures."""
    line = "{:<42}{:>6}{:>7}{:>7}{:>12}{:>9}{:>9}  {}"
    headings = ("preset", "image", "batch", "epochs", "parameters", "M MACs", "test %")
    lines = [line.format(*headings, "").rstrip()]
    for name, row in paper_rows().items():
        config = presets()[name]
        cells = (
            *(name, config.image_size, config.batch_size, config.epochs),
            f"{int(row['params']):,}",
            f"{int(row['paper_flops']) / 1e6:.1f}",
            row["test_acc"],
            row["note"],
        )
        lines.append(line.format(*cells).rstrip())
    return "\n".join(
        [
            *lines,
            "Parameters, multiply-accumulates and test accuracy are the paper's, of "
            "one run each.",
            "modern-PRESET, such as modern-cifar10-mobilenet-16ch: its net and data "
            "with a recipe of today. modern-cifar10-convmixer-dense, -16ch and -32ch "
            "have no row.",
            "digits-mobilenet-16ch: what gpwjax train does without settings.",
        ]
    )
