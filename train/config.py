"""Every setting of a training run and its default, once. Imports nothing heavy."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


class RunError(Exception):
    """What keeps a run from going on and a person can mend; shown as one line."""


def check(condition: bool, name: str, value: object, rule: str) -> None:
    """Raises ValueError naming the flag, its value and the rule that it breaks."""
    if not condition:
        flag = name.replace("_", "-")
        raise ValueError(f"--{flag} must be {rule}, got {value}")


# As tyro writes it, the dense net would be `--min-channels None`.
MinChannels = Annotated[
    int | None,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT|none",
        instance_from_str=lambda text: None if text[0] == "none" else int(text[0]),
        is_instance=lambda value: value is None or isinstance(value, int),
        str_from_instance=lambda value: ["none" if value is None else str(value)],
    ),
]


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

    def __post_init__(self) -> None:
        for name in ("rotation", "shift", "shear"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        check(0 <= self.zoom < 1, "zoom", self.zoom, "from 0 to below 1")


@dataclasses.dataclass(frozen=True)
class Config:
    """Trains a net and tests it; the defaults are the paper's recipe (Section 4), but
    for the data set digits, which has its own.

    All that a run makes goes into its run folder. The same command goes on where the
    run stopped.
    """

    data: str
    """Data set: digits (scikit-learn's), cifar10, cifar100, oxford_iiit_pet,
    cropped_plantdoc, the name of a prepared TFDS set, a folder with one folder of
    images for each class, with or without train/, val/, test/, or a .csv file with the
    columns path and label."""
    data_dir: Path | None = None
    """Where prepared TFDS sets are (default: $TFDS_DATA_DIR or ~/tensorflow_datasets).
    """
    archive: Path | None = None
    """The data set's official archive, or the folder with its archives, to prepare it
    from (default: downloaded)."""
    archive_digest: tuple[str, ...] = ()
    """SHA-256 of archives to accept that are not the official ones."""
    split: Literal["clean", "paper"] = "clean"
    """Of cropped_plantdoc: clean, with no photograph in two parts, or the paper's."""
    model: str = "mobilenet"
    """Net: one of gpwjax.list_models()."""
    min_channels: MinChannels = 16
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
    """Of the weights, the order of the images, augmentation, dropout, and the split
    where the data set has none."""
    run_dir: Path | None = None
    """Run folder (default: one in runs/ named after data, net and seed)."""

    def __post_init__(self) -> None:
        for name in ("image_size", "epochs", "batch_size", "cycle_epochs"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        if self.min_channels is not None:
            check(
                self.min_channels >= 1,
                "min_channels",
                self.min_channels,
                "at least 1, or none for the dense net",
            )
        if self.batch_norm_momentum is not None:
            check(
                0 <= self.batch_norm_momentum < 1,
                "batch_norm_momentum",
                self.batch_norm_momentum,
                "from 0 to below 1",
            )
        check(self.lr > 0, "lr", self.lr, "more than 0")
        check(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 2^32 - 1")

    @property
    def variant(self) -> str:
        """The paper's name of the variant: dense, 16ch, ..."""
        return "dense" if self.min_channels is None else f"{self.min_channels}ch"

    @property
    def folder(self) -> Path:
        """The run folder."""
        if self.run_dir is not None:
            return self.run_dir
        data = Path(self.data).absolute().name
        return Path("runs", f"{data}-{self.model}-{self.variant}-seed{self.seed}")

    def to_json(self) -> dict[str, Any]:
        """What the result of a run depends on: all but where things are."""
        settings = dataclasses.asdict(self)
        places = ("data_dir", "archive", "archive_digest", "run_dir")
        return {name: v for name, v in settings.items() if name not in places}


# For 8x8 pixels and 1,258 training images. In so short a run running statistics with
# the paper's momentum of 0.99 lag behind the weights.
DIGITS = Config(
    data="digits",
    image_size=8,
    small_images=True,
    batch_norm_momentum=0.95,
    epochs=48,
    batch_size=32,
    optimizer="adam",
    cycle_epochs=48,
    augmentation=Augmentation(flip=False, rotation=15, shift=0.1, shear=10, zoom=0.15),
)


def parse(args: Sequence[str]) -> Config:
    """The configuration of a command line. A wrong one ends the program, status 2."""
    data = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    data.add_argument("--data", default=DIGITS.data)
    known, _ = data.parse_known_args(args)
    default = DIGITS if known.data == DIGITS.data else Config(data=known.data)
    return tyro.cli(Config, default=default, args=args, prog="python -m train")
