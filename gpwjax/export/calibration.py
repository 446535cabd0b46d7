"""Pictures by which the ranges of an int8 net's values are found."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gpwjax import training
from gpwjax.inference import Classifier, fit, stored_size, value_range
from gpwjax.picture_files import find_pictures
from gpwjax.pictures import UnreadableImageError, read_image
from gpwjax.places import user_path

LEAST, MOST = 16, 1000  # pictures that are looked at


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Pictures as a net's data set would store them.

    Attributes:
      images: (N, stored_size, stored_size, 3) uint8.
      labels: (N,) numbers of their classes, -1 where that is not known.
    """

    images: np.ndarray
    labels: np.ndarray


def read_calibration(place: str | Path, classifier: Classifier) -> Calibration:
    """At most MOST pictures, evenly spaced among all.

    Args:
      place: a folder of pictures at any depth, or a data set by its name, of which
        those for validation are taken. In a folder, the nearest folder around a picture
        that has the name of one of the net's classes tells its class.
      classifier: the net that they are for.

    Raises:
      ValueError: there are too few pictures, or no such folder or data set, or home
        folder.
      OSError: a folder cannot be listed.
      NoTrainingError: what reads data sets by name is not installed.
    """
    path = user_path(place)
    found = from_folder if path.exists() else from_data_set
    calibration = found(path, classifier)
    if len(calibration.images) < LEAST:
        raise ValueError(
            f"calibration needs at least {LEAST} pictures that can be read, {place} "
            f"has {len(calibration.images)}"
        )
    return calibration


def from_folder(folder: Path, classifier: Classifier) -> Calibration:
    files = find_pictures([folder])
    about, values = classifier.metadata, value_range(classifier.metadata)
    size, pad = stored_size(about), about.get("pad", False)
    images, labels = [], []
    for file in evenly(files):
        try:
            image = read_image(file, values=values)
        except UnreadableImageError:
            continue  # too few are told at the end
        image = fit(image, size, pad, about.get("resize", "bilinear"))
        images.append(np.round(255 * image).astype(np.uint8))
        labels.append(label_of(file.relative_to(folder), classifier.classes))
    return Calibration(
        np.array(images, np.uint8).reshape(-1, size, size, 3), np.array(labels, int)
    )


def label_of(file: Path, classes: Sequence[str]) -> int:
    """The number of the class that a folder around a file is named after, or -1."""
    names = [name.casefold() for name in classes]
    for parent in reversed(file.parts[:-1]):
        if parent.casefold() in names:
            return names.index(parent.casefold())
    return -1


def from_data_set(name: Path, classifier: Classifier) -> Calibration:
    config, data = training.module("config"), training.module("data")
    about = classifier.metadata
    settings = config.Config(
        str(name),
        image_size=stored_size(about),
        pad=about.get("pad", False),
        resize=about.get("resize", "bilinear"),
        range_16_bit="{}-{}".format(*value_range(about)),
    )
    try:
        found = data.load_dataset(settings)
    except config.RunError as error:
        raise ValueError(f"calibration: {error}") from error
    if found.stored_size != stored_size(about):
        raise ValueError(
            f"calibration: images of {name} have {found.stored_size} pixels on a side, "
            f"those of the net {stored_size(about)}"
        )
    known = {label: i for i, label in enumerate(classifier.classes)}
    numbers = np.array([known.get(label, -1) for label in found.classes])
    chosen = np.array(list(evenly(found.val)), int)
    return Calibration(found.images[chosen], numbers[found.labels[chosen]])


def evenly(numbers: Sequence, most: int = MOST) -> Iterator:
    """At most so many of them, from the first to the last."""
    places = np.linspace(0, len(numbers) - 1, min(most, len(numbers)))
    return (numbers[place] for place in places.astype(int))
