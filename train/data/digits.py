"""scikit-learn's digits: 1,797 handwritten digits of 8x8 pixels, part of the package.

Alpaydin and Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998, test set.
"""

import numpy as np

from gpwjax.deep_pictures import FULL_RANGE, Range

from .source import Source, consecutive, digest_of
from .splits import POOL, stratified_split


def source() -> Source:
    """The digits as grey images in RGB, split 70/10/20 in the same way always."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
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
