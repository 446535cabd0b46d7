"""Data sets by name, and folders of images, as arrays of one size."""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gpwjax.deep_pictures import FULL_RANGE, Range

from ..config import Config, RunError
from ..recipes import picture_size
from . import digits, folder, prepared, table
from .cache import cached_arrays
from .prepare import NAMES, prepare
from .source import Source
from .splits import paper_split, train_val_test
from .values import find_values

log = logging.getLogger(__name__)


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
      describe: index -> what to call the image in messages.
      file: index -> the image's file, where each has one.
      place: the folder or table of the images, absolute, where there is one.
      pad: whether images got black bars to become squares.
      resize: how larger images were shrunk, "bilinear" or "nearest".
      values: those of 16-bit pictures that are black and white.
      image_size: height and width that follow the pictures, where no setting says it.
    """

    name: str
    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    skipped: list[tuple[str, str]]
    describe: Callable[[int], str] = str
    file: Callable[[int], Path] | None = None
    place: Path | None = None
    pad: bool = False
    resize: str = "bilinear"
    values: Range = FULL_RANGE
    image_size: int | None = None

    @property
    def stored_size(self) -> int:
        """Height and width of the stored images, pixels."""
        return self.images.shape[1]

    def digest(self) -> str:
        """SHA-256 of the images, their labels and what each is for."""
        sha = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        for part in (self.labels, self.train, self.val, self.test, self.images):
            sha.update(np.ascontiguousarray(part))
        return sha.hexdigest()

    def class_counts(self, indices: np.ndarray) -> dict[str, int]:
        """Class -> how many of these images are of it."""
        counts = np.bincount(self.labels[indices], minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))


def load_dataset(config: Config) -> Dataset:
    """Finds the data set, decodes it where that has not been done, and splits it.

    Raises:
      RunError: there is no such data set, or no such split of it.
    """
    source = find_source(config)
    pad = source.pad if config.pad is None else config.pad
    values = find_values(source) if config.range_16_bit is None else config.values
    source = dataclasses.replace(
        source, pad=pad, resize=config.resize, values=tuple(values)
    )
    image_size = config.image_size or picture_size(source)
    arrays = cached_arrays(source, image_size)
    train, val, test = split(source, arrays.labels, config)
    return Dataset(
        source.name,
        source.classes,
        arrays.images,
        arrays.labels,
        train,
        val,
        test,
        [*source.skipped, *arrays.skipped],
        source.describe,
        source.file,
        source.place,
        source.pad,
        source.resize,
        source.values,
        image_size,
    )


def split(
    source: Source, labels: np.ndarray, config: Config
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the training, validation and test images.

    Raises:
      RunError: the data set has no such split.
    """
    if config.split == "paper":
        if source.name != "cropped_plantdoc":
            raise RunError(f"--split paper is of cropped_plantdoc, not {source.name}")
        return paper_split(labels, config.seed)
    photographs = source.photographs() if source.photographs else None
    return train_val_test(source.splits, labels, config.seed, photographs)


def find_source(config: Config) -> Source:
    """The data set that `--data` names, not decoded yet."""
    data_dir = find_data_dir(config.data_dir)
    path = Path(config.data).expanduser()
    is_path = path.name != config.data
    is_digits = config.data == "digits"
    if is_digits or (not is_path and prepared.is_prepared(config.data, data_dir)):
        if path.exists():
            log.warning(
                "--data %s is the data set of that name, not what lies in %s: that is "
                "--data ./%s",
                *(config.data, Path.cwd(), config.data),
            )
        return digits.source() if is_digits else prepared.source(config.data, data_dir)
    if path.is_dir():
        return folder.source(path)
    if path.is_file() and path.suffix.lower() == ".csv":
        return table.source(path)
    if path.exists():
        raise RunError(
            f"--data {config.data} must be a folder of images or a .csv file"
        )
    if config.data in NAMES:
        if data_dir.parts[0] == "~":
            raise RunError(
                f"there is no home folder for {data_dir}: name another place with "
                "--data-dir"
            )
        prepare(config.data, data_dir, config.archive, config.archive_digest)
        return prepared.source(config.data, data_dir)
    if is_path:
        raise RunError(
            f"there is no {path.absolute()}. --data takes a folder with one folder of "
            "images for each class, a .csv file, or the name of a data set"
        )
    found = ", ".join(prepared.list_prepared(data_dir)) or "none"
    raise RunError(
        f"there is no data set {config.data!r}: neither one of digits, "
        f"{', '.join(NAMES)}, nor a folder of that name in {Path.cwd()}, nor a TFDS "
        f"data set prepared as array_record in {data_dir} (there: {found}), for which "
        "--data-dir names another place"
    )


def find_data_dir(given: Path | None) -> Path:
    """The folder of prepared data sets; one in ~ where there is no home folder."""
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return given or Path(os.path.expanduser(default))


def check_trainable(dataset: Dataset, config: Config) -> None:
    """Raises RunError where the data set cannot be trained on."""
    counts = dataset.class_counts(dataset.train)
    empty = [name for name, count in counts.items() if not count]
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
            raise RunError(
                f"{dataset.name} has too few images for a {split} split: "
                f"{len(dataset.train)} of {len(dataset.classes)} classes, and each "
                "class needs one for training. Add some, or a split with other images"
            )
    if len(dataset.train) < config.batch_size:
        raise RunError(
            f"--batch-size must be at most the {len(dataset.train)} training images of "
            f"{dataset.name}, got {config.batch_size}"
        )
