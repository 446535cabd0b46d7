"""Every setting of a training run and its default, once. Imports nothing heavy."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image. The defaults are the paper's (Section 4)."""

    flip: bool = True
    """Flip half of the images left to right."""
    rotation: float = 20.0
    """Largest rotation, degrees."""
    shift: float = 0.3
    """Largest shift on either axis, as a share of the image's size."""
    shear: float = 0.2
    """Largest shear, degrees."""
    zoom: float = 0.3
    """Largest change of scale, on each axis for itself: 0.3 is 0.7 to 1.3."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Trains a net and tests it. The defaults are the paper's recipe (Section 4).

    All that a run makes goes into its run folder. The same command goes on where the
    run stopped.
    """

    data: str = "digits"
    """Data set: digits (scikit-learn's), the name of a prepared TFDS set, or a folder
    with one folder of images for each class, with or without train/, val/, test/."""
    data_dir: Path | None = None
    """Where prepared TFDS sets are (default: $TFDS_DATA_DIR or ~/tensorflow_datasets).
    """
    model: str = "mobilenet"
    """Net: one of gpwjax.list_models()."""
    min_channels: int | None = 16
    """Least input channels of a group in the pointwise convolutions; none: dense."""
    image_size: int = 224
    """Height and width of the images that the net sees, pixels."""
    small_images: bool = False
    """Stride 1 in the net's first three layers of stride 2."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the computation; parameters and batch statistics are float32."""
    batch_norm_momentum: float | None = None
    """Decay of the running batch statistics (None: the paper's, 0.99 in MobileNet)."""
    epochs: int = 50
    """Passes over the training images."""
    batch_size: int = 64
    """Images in a step."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """rmsprop has the paper's constants."""
    lr: float = 1e-3
    """Learning rate at the beginning of a cycle; it rises to four times as much."""
    cycle_epochs: int = 25
    """Epochs of one cycle of the learning rate."""
    augmentation: Annotated[Augmentation, tyro.conf.OmitArgPrefixes] = Augmentation()
    seed: int = 0
    """Of the weights, the order of the images, augmentation and dropout, and of the
    split where the data set has none."""
    run_dir: Path | None = None
    """Run folder (default: runs/ and a name made of data, net and seed)."""

    def __post_init__(self) -> None:
        for name in ("image_size", "epochs", "batch_size", "cycle_epochs"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        if self.min_channels is not None:
            require(self.min_channels >= 1, "min_channels", self.min_channels, ">= 1")
        require(self.lr > 0, "lr", self.lr, "more than 0")


def require(condition: bool, name: str, value: object, rule: str) -> None:
    if not condition:
        flag = name.replace("_", "-")
        raise ValueError(f"--{flag} must be {rule}, got {value}")
