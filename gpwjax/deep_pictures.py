"""What is particular about pictures of 16 bits: which of their values is white, and
what Pillow takes for something else."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

log = logging.getLogger(__name__)

Range = tuple[int, int]  # the values that are black and white

FULL_RANGE: Range = (0, 65535)
BITS, PHOTOMETRIC, PLANES, SAMPLES = 258, 262, 284, 339  # tags of a TIFF
WHITE_IS_ZERO, SIGNED = 0, 2  # a photometric interpretation, a format of samples
WHITE_OF_12 = 4095  # in files of 12 bits a value, in which white is known
FEW_BITS = 12  # of 16: what no screen shows, as 15 of 255 is the highest value
warned_of: set[int] = set()  # numbers of bits


def is_range(values: Any) -> bool:
    """Whether they are two integers that may be black and white."""
    return (
        isinstance(values, list)
        and [type(value) for value in values] == [int, int]
        and FULL_RANGE[0] <= values[0] < values[1] <= FULL_RANGE[1]
    )


def mend_planes(image: Image.Image) -> None:
    """Pillow takes planes of 16 bits for such of 8, where they are not compressed.

    Raises:
      ValueError: it takes them for something else in other ways too.
    """
    if image.tag_v2.get(PLANES) != 2:
        return
    is_deep = set(image.tag_v2.get(BITS, ())) == {16}
    if image.mode == "LA" or image.mode == "CMYK" and is_deep:
        raise ValueError(f"planes of {image.mode}")
    if not is_deep:
        return
    ending = ";16L" if image.tag_v2.prefix == b"II" else ";16B"
    image.tile = [
        tile._replace(args=(tile.args[0] + ending, *tile.args[1:]))
        if tile.args[0] in "RGBA"
        else tile
        for tile in image.tile
    ]


def highest_value(image: Image.Image) -> int | None:
    """The highest value that an image of 12 or 16 bits, which is not loaded yet, can
    have; None of another one."""
    if image.format not in ("PNG", "TIFF", "PPM"):
        return None
    tile = str(image.tile)
    return WHITE_OF_12 if ";12" in tile else FULL_RANGE[1] if ";16" in tile else None


def is_signed(image: Image.Image) -> bool:
    """Whether values may be negative, as a mode of Pillow does not say."""
    return image.format == "TIFF" and SIGNED in image.tag_v2.get(SAMPLES, ())


def is_inverted(image: Image.Image) -> bool:
    """Whether white is 0, and Pillow, which inverts up to 8 bits, leaves it so."""
    is_white_zero = (
        image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO
    )
    return is_white_zero and image.mode.startswith("I;16")


def values_of(image: Image.Image) -> Range:
    """The lowest and highest value of a loaded image of 16 bits."""
    extrema = image.getextrema()
    if image.mode.startswith("I"):
        return extrema
    # Of colours Pillow has the upper 8 bits.
    colours = zip(image.getbands(), extrema, strict=True)
    lows, highs = zip(*(of for band, of in colours if band != "A"), strict=True)
    return 256 * min(lows), 256 * max(highs) + 255


def scaled(values: np.ndarray, black_and_white: Range) -> np.ndarray:
    """Values of any integers as uint8: black is 0 and white 255, rounded."""
    low, high = black_and_white
    span = high - low
    above = np.clip(values, low, high).astype(np.uint32) - np.uint32(low)
    return ((255 * above + span // 2) // span).astype(np.uint8)


def upper_bits(values: Range) -> Range:
    """A range as the upper 8 of its 16 bits."""
    return values[0] >> 8, values[1] >> 8


def warn_of_range(image: Image.Image, name: str | Path) -> None:
    """Says once for each number of bits that a loaded image of 16 bits uses only so
    many, as those of microscopes and of medicine do."""
    low, high = values_of(image)
    bits = high.bit_length()
    if 0 < bits <= FEW_BITS and bits not in warned_of:
        warned_of.add(bits)
        log.warning(
            "%s has values from %d to %d of 65535, %d of its 16 bits, and is read as "
            "such: nearly one colour. Other such pictures are not named. Training with "
            "--range-16-bit auto scales by the data set's own range",
            name,
            low,
            high,
            bits,
        )
