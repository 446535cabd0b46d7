"""What a person should know about a data set before training."""

import hashlib
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from . import Dataset

SHOWN = 20  # classes in a line, at most
RATIO = 3  # of the largest class to the smallest, from which it is worth a line


def imbalance(counts: Mapping[str, int]) -> str | None:
    """A line that names the smallest and the largest class, where they differ much.

    Args:
      counts: class -> number of its training images.
    """
    if not counts:
        return None
    smallest, largest = (choose(counts, key=counts.get) for choose in (min, max))
    if counts[largest] < RATIO * counts[smallest] or not counts[largest]:
        return None
    median = statistics.median(counts.values())
    return (
        f"classes differ in size: {counts[smallest]} ({smallest!r}) to "
        f"{counts[largest]} ({largest!r}) training images, median {median:.10g}"
    )


def shown_weights(weights: Mapping[str, float]) -> str:
    """The weights of the classes in the loss, or of many the least and the largest."""
    if len(weights) > SHOWN:
        ends = (choose(weights, key=weights.get) for choose in (min, max))
        return " to ".join(f"{weights[name]:.2f} ({name!r})" for name in ends)
    return ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())


class Repeat(NamedTuple):
    """An image of the validation or test part whose file has the same content as that
    of a training image; both as the data set describes them."""

    part: str
    image: str
    trained: str


def repeats(dataset: Dataset) -> list[Repeat]:
    """The images of other parts that are trained on too, where images are files."""
    if dataset.file is None:
        return []
    # Same files have the same pixels, which lie at hand; only such files are read.
    by_pixels: dict[bytes, list[int]] = {}
    for number in dataset.train:
        by_pixels.setdefault(pixels_digest(dataset, number), []).append(number)
    found = []
    for part in ("val", "test"):
        digests = {n: pixels_digest(dataset, n) for n in getattr(dataset, part)}
        suspects = {n: digest for n, digest in digests.items() if digest in by_pixels}
        trained = {
            content_digest(dataset.file(n)): n
            for digest in {*suspects.values()}
            for n in by_pixels[digest]
        }
        for number in suspects:
            same = trained.get(content_digest(dataset.file(number)))
            if same is not None:
                names = map(dataset.describe, (int(number), int(same)))
                found.append(Repeat(part, *names))
    return found


def pixels_digest(dataset: Dataset, number: int) -> bytes:
    return hashlib.blake2b(dataset.images[number], digest_size=16).digest()


def content_digest(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def repeats_text(found: Iterable[Repeat]) -> str | None:
    """A line that counts them; None where there is none."""
    parts = [repeat.part for repeat in found]
    if not parts:
        return None
    return (
        f"{parts.count('test')} test and {parts.count('val')} validation images are "
        "trained on too: their files have the same content as a training image's, so "
        "the accuracy says too much"
    )
