"""Data sets by name, and folders of images, as arrays of one size."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from train.config import Config, RunError
from train.data import digits, folder, prepared
from train.data.cache import cached_arrays
from train.data.source import Source
from train.data.splits import train_val_test


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images of one size, and which of them are for what.

    Attributes:
      name: of the data set.
      classes: names of the classes.
      images: (N, size, size, 3) uint8, a memory map.
      labels: (N,) int32, -1 for an image that could not be read.
      train, val, test: indices of images.
      skipped: (file, reason) of each image that could not be read.
    """

    name: str
    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    skipped: list[tuple[str, str]]

    @property
    def stored_size(self) -> int:
        """Height and width of the stored images, pixels."""
        return self.images.shape[1]


def load_dataset(config: Config) -> Dataset:
    """Finds the data set, decodes it where that has not been done, and splits it.

    Raises:
      RunError: there is no such data set, or it cannot be trained on.
    """
    source = find_source(config)
    arrays = cached_arrays(source, config.image_size)
    train, val, test = train_val_test(source.splits, arrays.labels, config.seed)
    dataset = Dataset(
        source.name,
        source.classes,
        arrays.images,
        arrays.labels,
        train,
        val,
        test,
        arrays.skipped,
    )
    check(dataset, config)
    return dataset


def find_source(config: Config) -> Source:
    """The data set that `--data` names, not decoded yet."""
    if config.data == "digits":
        return digits.source()
    data_dir = config.data_dir or Path(
        os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    )
    data_dir = data_dir.expanduser()
    path = Path(config.data).expanduser()
    is_path = path.name != config.data
    if not is_path and prepared.is_prepared(config.data, data_dir):
        return prepared.source(config.data, data_dir)
    if path.is_dir():
        return folder.source(path)
    if path.exists():
        raise RunError(f"--data {config.data} is a file, not a folder of images")
    if is_path:
        raise RunError(
            f"there is no folder {path.absolute()}. --data takes a folder with one "
            "folder of images for each class, the name of a prepared TFDS data set, or "
            "digits"
        )
    found = ", ".join(prepared.list_prepared(data_dir)) or "none"
    raise RunError(
        f"there is no data set {config.data!r}: neither a folder of that name in "
        f"{Path.cwd()}, nor a TFDS data set prepared as array_record in {data_dir} "
        f"(there: {found}). Nothing is downloaded: name the folder that holds prepared "
        "sets with --data-dir, or use --data digits, which needs no files"
    )


def check(dataset: Dataset, config: Config) -> None:
    """Raises RunError where the data set cannot be trained on."""
    present = np.bincount(dataset.labels[dataset.train], minlength=len(dataset.classes))
    empty = [dataset.classes[i] for i in np.flatnonzero(present == 0)]
    if empty:
        raise RunError(
            f"{dataset.name} has no readable training image of class "
            f"{', '.join(map(repr, empty))}: add some or remove the class"
        )
    if len(dataset.classes) < 2:
        raise RunError(
            f"{dataset.name} must have at least 2 classes, got {len(dataset.classes)}: "
            f"{', '.join(dataset.classes)}"
        )
    for split in ("val", "test"):
        if not len(getattr(dataset, split)):
            raise RunError(f"{dataset.name} has too few images for a {split} split")
    if len(dataset.train) < config.batch_size:
        raise RunError(
            f"--batch-size must be at most the {len(dataset.train)} training images of "
            f"{dataset.name}, got {config.batch_size}"
        )
