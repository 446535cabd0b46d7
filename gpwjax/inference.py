"""From a weights file to class probabilities."""

import os
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from PIL import Image

from gpwjax import trained, weights
from gpwjax.deep_pictures import FULL_RANGE, Range
from gpwjax.nearest import nearest_pixels
from gpwjax.pieces import in_pieces

BATCH_SIZE = 64
NOT_FINITE = "gets numbers from the net that are not finite"  # goes on from its name


class NotFiniteError(ValueError):
    """A net's numbers for an image are not finite, so that they say nothing."""


class Classifier:
    """A trained net and what is needed to use it. Made by `load`.

    Attributes:
      model: the net, as of `create_model`.
      variables: its parameters and batch statistics, as trained.
      classes: the names of the classes, in the order of the probabilities.
      metadata: all that the file says, `image_size` among it.
    """

    def __init__(self, model: nn.Module, variables: dict, metadata: dict[str, Any]):
        self.model = model
        self.variables = variables
        self.classes: list[str] = metadata["classes"]
        self.metadata = metadata

    def predict(
        self, images: np.ndarray | Iterable[np.ndarray], mirror: bool = False
    ) -> np.ndarray:
        """Probabilities (N, classes) of N images.

        Args:
          images: (N, H, W, 3), or N arrays (H, W, 3) of any sizes; uint8, or floats in
            [0, 1]. Images of another size are brought to the net's by `fit`.
          mirror: whether to give the mean of those of the image and of its mirror
            image, left to right.

        Raises:
          ValueError: an image is not (H, W, 3), or of another dtype.
        """
        prepared = [self.prepare(image) for image in images]
        if not prepared:
            return np.zeros((0, len(self.classes)), np.float32)
        images = np.stack(prepared)
        found = in_batches(self.probabilities, images)
        if mirror:
            mirrored = images[:, :, ::-1]
            return (found + in_batches(self.probabilities, mirrored)) / 2
        return found

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """An image as the net sees it: (image_size, image_size, 3) float32 in [0, 1].

        Args:
          image: as one of those of `predict`.

        Raises:
          ValueError: it is not (H, W, 3), or of another dtype.
        """
        size = self.metadata["image_size"]
        pad = self.metadata.get("pad", False)
        resize = self.metadata.get("resize", "bilinear")
        image = np.asarray(image)
        check_image(image)
        return fit(fit(image, stored_size(self.metadata), pad, resize), size)

    @cached_property
    def probabilities(self) -> Callable[[np.ndarray], jax.Array]:
        """Images as of `prepare` (N, size, size, 3) -> (N, classes), compiled for each
        N."""

        @jax.jit
        def probabilities(variables: dict, images: jax.Array) -> jax.Array:
            net = partial(self.model.apply, variables, train=False)
            return jax.nn.softmax(in_pieces(net, images))

        return partial(probabilities, jax.device_put(self.variables))


def stored_size(metadata: dict[str, Any]) -> int:
    """Height and width of a net's images before they are brought to `image_size`."""
    return metadata.get("stored_size", metadata["image_size"])


def value_range(metadata: dict[str, Any]) -> Range:
    """The values that are black and white in a net's pictures of 16 bits."""
    low, high = metadata.get("range_16_bit", FULL_RANGE)
    return low, high


def load(net: str | os.PathLike) -> Classifier:
    """Reads a trained net.

    Args:
      net: a file written by `save`, a run folder, or the name of a net that comes with
        this package, as `gpwjax list --trained` shows them; what exists of that name
        goes first.

    Raises:
      FileNotFoundError: there is no such file, nor such a name.
      ValueError: it is not a file of `save`, or its arrays are not the net's.
    """
    return Classifier(*weights.read(trained.find(net)))


def in_batches(function: Callable[..., jax.Array], *arrays: np.ndarray) -> np.ndarray:
    """The rows (N, ...) that a function gives for N >= 1 rows of each array, BATCH_SIZE
    of them at a time."""
    results = []
    for start in range(0, len(arrays[0]), BATCH_SIZE):
        batch = [array[start : start + BATCH_SIZE] for array in arrays]
        length = len(batch[0])
        # Few lengths, since each is compiled: a power of two.
        rows = np.resize(np.arange(length), 1 << (length - 1).bit_length())
        results.append(np.asarray(function(*(x[rows] for x in batch)))[:length])
    return np.concatenate(results)


def check_image(image: np.ndarray) -> None:
    """Raises ValueError unless an image is (H, W, 3), of uint8 or floats."""
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"an image must be (H, W, 3), got shape {image.shape}")
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"an image must be uint8 or floats, got dtype {image.dtype}")


def as_float(pixels: np.ndarray) -> np.ndarray:
    """Pixels as float32, those of uint8 in [0, 1]."""
    floats = pixels.astype(np.float32)
    if pixels.dtype == np.uint8:
        floats /= 255
    return floats


def fit(
    image: np.ndarray, size: int, pad: bool = False, resize: str = "bilinear"
) -> np.ndarray:
    """Brings an image (H, W, C), uint8 or floats in [0, 1], to (size, size, C) float32.

    The largest square in its middle, or with `pad` the whole image with black bars, is
    shrunk by an antialiased bilinear filter, or where `resize` is "nearest" by nearest
    neighbour. It is enlarged by nearest neighbour, as the paper enlarges CIFAR's.
    """
    image = pad_to_square(image) if pad else middle_square(image)
    side = len(image)
    if side == size:
        return as_float(image)
    if side < size or resize == "nearest":
        near = nearest_pixels(side, size)
        return as_float(image[near][:, near])
    # One by one, since as floats a large image takes gigabytes.
    channels = [
        np.asarray(
            Image.fromarray(as_float(np.ascontiguousarray(channel))).resize(
                (size, size), Image.Resampling.BILINEAR
            )
        )
        for channel in image.transpose(2, 0, 1)
    ]
    return np.stack(channels, -1)


def middle_square(image: np.ndarray) -> np.ndarray:
    """The largest square in the middle of an image (H, W, C)."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def pad_to_square(image: np.ndarray) -> np.ndarray:
    """An image (H, W, C) in the middle of the smallest square of zeros."""
    missing = [max(image.shape[:2]) - length for length in image.shape[:2]]
    bars = [(length // 2, length - length // 2) for length in missing]
    return np.pad(image, [*bars, (0, 0)])
