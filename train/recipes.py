"""The recipes: settings that go together, and those that follow the data set.

What is None in a recipe is settled once the data set is known, by `settled`.
"""

import dataclasses
import math
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

from gpwjax.pictures import UnreadableImageError

from .config import Augmentation, Config, RunError

if TYPE_CHECKING:
    from .data import Dataset
    from .data.source import Source

# Settings that follow the data set where they are None.
AUTOMATIC = (
    *("image_size", "small_images", "epochs", "batch_size", "warmup_epochs"),
    *("batch_norm_momentum", "range_16_bit"),
)

# For data of one's own: they follow the pictures in all recipes.
OF_PICTURES: dict[str, Any] = {
    "image_size": None,
    "small_images": None,
    "batch_size": None,
}

# For data of one's own, from some pictures of each class to many: a high rate in small
# batches, since a small set gives few steps, with nearly the paper's augmentation.
# The best epoch is one of the last third: of 25 validation images an early one is the
# best by chance. benchmarks/README.md, "A folder of pictures", has the measurements.
OWN: dict[str, Any] = {
    "recipe": "own",
    "optimizer": "adamw",
    "weight_decay": 0.05,
    "schedule": "cosine",
    "lr": 6e-3,
    "warmup_epochs": None,
    "label_smoothing": 0.1,
    "best_after": 2 / 3,
    "epochs": None,
    "augmentation": Augmentation(rotation=20, shift=0.2, shear=0, zoom=0.3),
}

# Not the paper's: what has become usual since, milder where nets this small would
# rather learn too little than too much.
MODERN: dict[str, Any] = {
    "recipe": "modern",
    "batch_size": 128,
    "dtype": "bfloat16",
    "optimizer": "adamw",
    "weight_decay": 0.02,
    "clip_norm": 1.0,
    "schedule": "cosine",
    "lr": 2e-3,
    "warmup_epochs": 5,
    "label_smoothing": 0.05,
    "mixup": 0.1,
    "cutmix": 0.5,
    "ema": 0.9995,
    "augmentation": Augmentation(rotation=10, shift=0.125, shear=0, zoom=0.2),
    "augment_val": False,
}
MODERN_EPOCHS = 4  # times the paper's


class Amount(NamedTuple):
    """How the recipe `own` trains on less than so many training images."""

    images: float
    batch_size: int
    epochs: int


AMOUNTS = (Amount(1_000, 8, 50), Amount(10_000, 32, 40), Amount(math.inf, 64, 30))
LEAST_STEPS = 300  # of a run, whatever the number of images
BATCH_SIZES = {"paper": Config.batch_size, "modern": MODERN["batch_size"]}  # at most

SIZES = (8, 224)  # least and largest image size that follows the pictures, pixels
ROUNDED = 32  # sizes from twice this on are multiples of it, as the nets' strides are
SAMPLES = 25  # pictures that are looked at for their size


def own_data(recipe: str) -> dict[str, Any]:
    """The settings of a recipe for data of one's own, but for the paper's defaults."""
    if recipe == "own":
        return OWN | OF_PICTURES
    if recipe == "modern":
        return MODERN | OF_PICTURES | {"warmup_epochs": None} | modern_epochs(Config)
    return OF_PICTURES


def modern_epochs(paper: "Config | type[Config]") -> dict[str, int]:
    """The epochs of the modern recipe in the place of the paper's."""
    return {"epochs": MODERN_EPOCHS * paper.epochs}


def picture_size(source: "Source") -> int:
    """The image size that follows the pictures of a data set, pixels.

    The median of some of them, of the side that is left of a picture: the shorter one,
    or the longer one where it is padded to a square. Never above 224, and from 64 on a
    multiple of 32.
    """
    if source.size:
        return rounded(source.size)
    step = max(1, source.count // SAMPLES)
    sides = []
    for number in range(0, source.count, step):
        try:
            height, width = source.read(number)[0].shape[:2]
        except UnreadableImageError:
            continue
        sides.append(max(height, width) if source.pad else min(height, width))
    # Where none can be read, there is an error of its own.
    return rounded(int(statistics.median(sides or [SIZES[1]])))


def rounded(side: int) -> int:
    side = min(max(side, SIZES[0]), SIZES[1])
    return side if side < 2 * ROUNDED else side - side % ROUNDED


def settled(config: Config, dataset: "Dataset", devices: int) -> Config:
    """The configuration with a value for each setting that follows the data set.

    Args:
      config: as the command line has it.
      dataset: loaded with it.
      devices: how many there are, by which a batch must be divided.

    Raises:
      RunError: a setting does not go together with those that follow the data set.
    """
    images = len(dataset.train)
    amount = next(amount for amount in AMOUNTS if images < amount.images)
    image_size = config.image_size or dataset.image_size
    new: dict[str, Any] = {"image_size": image_size}
    new["range_16_bit"] = f"{dataset.values[0]}-{dataset.values[1]}"
    if config.small_images is None:
        new["small_images"] = image_size < 2 * ROUNDED
    batch_size = config.batch_size
    if batch_size is None:
        most = BATCH_SIZES.get(config.recipe, amount.batch_size)
        whole = max(1, min(most, images) // devices) * devices
        new["batch_size"] = batch_size = whole
    steps = max(1, images // batch_size)
    epochs = config.epochs
    if epochs is None:
        new["epochs"] = epochs = max(amount.epochs, math.ceil(LEAST_STEPS / steps))
    if config.warmup_epochs is None:
        has_one = config.schedule == "cosine"
        new["warmup_epochs"] = min(5, epochs // 10) if has_one else 0
    if config.recipe == "own" and config.batch_norm_momentum is None:
        new["batch_norm_momentum"] = norm_momentum(steps * epochs)
    try:
        return dataclasses.replace(config, **new)
    except ValueError as error:
        raise RunError(str(error)) from error


def norm_momentum(steps: int) -> float:
    """Decay of the running batch statistics in a run of so many steps.

    The statistics are of its last fiftieth, 10 to 100 steps: with the paper's 0.99 they
    lag behind the weights in a run of some hundred steps, which then tests at chance.
    """
    return round(1 - 1 / min(max(steps / 50, 10), 100), 4)


def described(config: Config) -> str:
    """A line that names the recipe and what it came down to."""
    rate = "cosine from" if config.schedule == "cosine" else "cycles from"
    parts = [
        f"{config.epochs} epochs in batches of {config.batch_size}",
        f"{config.optimizer}, {rate} {config.lr:g}",
    ]
    if config.batch_norm_momentum is not None:
        parts.append(f"batch norm momentum {config.batch_norm_momentum:g}")
    strides = "strides for small images" if config.small_images else "ordinary strides"
    parts.append(f"images of {config.image_size}x{config.image_size}, {strides}")
    return f"recipe {config.recipe}: {'; '.join(parts)}"
