"""scikit-learn's digits: 1,797 handwritten digits of 8x8 pixels, part of the package.

Alpaydin and Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998, test set.
"""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from gpwjax.deep_pictures import FULL_RANGE, Range

from .source import Source, consecutive, digest_of
from .splits import POOL, stratified_split


def source() -> Source:
    """The digits as grey images in RGB, split 70/10/20 in the same way always."""
    pixels, labels = pixels_and_labels()
    # Stored as 0 to 16.
    pixels = np.round(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    parts = stratified_split(labels, POOL, seed=0)
    order = np.concatenate(parts)
    counts = zip(("train", "val", "test"), map(len, parts), strict=True)

    def read(number: int, values: Range = FULL_RANGE) -> tuple[np.ndarray, int]:
        index = order[number]
        return np.repeat(pixels[index], 3, axis=-1), int(labels[index])

    return Source(
        name="digits",
        digest=digest_of([pixels.tobytes(), labels.tobytes(), order.tobytes()]),
        classes=tuple(map(str, range(10))),
        splits=consecutive(dict(counts)),
        size=8,
        read=read,
    )


def pixels_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """Images as rows of 64 pixels from 0 to 16, and their digits.

    From the package's file: to import scikit-learn takes seconds.
    """
    package = Path(find_spec("sklearn").origin).parent
    with gzip.open(package / "datasets" / "data" / "digits.csv.gz") as file:
        table = np.loadtxt(file, delimiter=",")
    return table[:, :-1], table[:, -1].astype(int)
