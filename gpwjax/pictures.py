"""Picture files as arrays."""

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gpwjax.deep_pictures import (
    FULL_RANGE,
    Range,
    highest_value,
    is_inverted,
    is_signed,
    mend_planes,
    scaled,
    upper_bits,
    values_of,
    warn_of_range,
)
from gpwjax.picture_parts import count_scans, without_metadata

# Of a loaded image, and its highest value if it has 12 or 16 bits.
Take = Callable[[Image.Image, int | None], Any]

# Pillow knows more, among them formats that other programs decode (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_SIDE = 10_000  # pixels; larger images are taken for decompression bombs
MAX_PIXELS = MAX_SIDE**2
MAX_BYTES = 4 * MAX_PIXELS  # of a file: what the largest image takes, not compressed
MAX_SCANS = 100  # of a JPEG, as in libtiff; a progressive one has about 10
STRIP = 256  # rows
PNG = b"\x89PNG\r\n\x1a\n"  # the first bytes of one

# For the whole process: images are read in threads, and none can filter its warnings
# alone. Pillow refuses an image of more than twice its limit before it makes room for
# it, and warns from the limit on. Its other warnings are of broken metadata.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class UnreadableImageError(Exception):
    """An image cannot be read; the message says why."""


def read_image(
    file: Path | BinaryIO, turn: bool = True, values: Range = FULL_RANGE
) -> np.ndarray:
    """An image file, or an open one, as (H, W, 3) uint8, transparent pixels over white.

    Of a file with several images it is the first.

    Args:
      file: its path, or the file opened for reading bytes.
      turn: turn the image as its EXIF data say. A TIFF is always turned.
      values: those that are black and white in images of 16 bits. Of their colours the
        upper 8 bits are read.

    Raises:
      UnreadableImageError: it is none of FORMATS, broken, cut off or too large. The
        message is one line that goes on from the file's name.
    """

    def take(image: Image.Image, highest: int | None) -> np.ndarray:
        own = (0, highest or 0)
        if own == values == FULL_RANGE:
            warn_of_range(image, name_of(file))
        inverted = is_inverted(image)
        if turn:
            turn_upright(image)
        given = own if values == FULL_RANGE else values
        pixels = to_rgb(image, given if highest else None)
        return np.subtract(255, pixels, out=pixels) if inverted else pixels

    return read(file, take)


def name_of(file: Path | BinaryIO) -> str:
    """What to call it in a message."""
    return str(file if isinstance(file, Path) else getattr(file, "name", "a picture"))


def read_values(file: Path | BinaryIO) -> Range | None:
    """The lowest and highest value of an image of 16 bits; None of another one.

    Raises:
      UnreadableImageError: as of `read_image`.
    """
    return read(file, lambda image, highest: values_of(image) if highest else None)


def read(file: Path | BinaryIO, take: Take) -> Any:
    """What is taken of an image file; raises UnreadableImageError."""
    try:
        if not isinstance(file, Path):
            return decode(file, take)
        if file.exists() and not file.is_file():
            raise UnreadableImageError("is not a regular file")  # a pipe would block
        with file.open("rb") as stream:
            return decode(stream, take)
    except UnreadableImageError:
        raise
    # Pillow raises many kinds of errors on broken files.
    except Exception as error:
        raise UnreadableImageError(reason(error)) from error


def decode(stream: BinaryIO, take: Take) -> Any:
    """What is taken of an open image file; raises what Pillow does."""
    size = stream.seek(0, os.SEEK_END)
    if not size:
        raise UnreadableImageError("is empty")
    if size > MAX_BYTES:
        raise UnreadableImageError(f"is too large: {size} bytes, at most {MAX_BYTES}")
    stream.seek(0)
    is_png = stream.read(len(PNG)) == PNG
    try:
        return decode_image(stream, take)
    except Exception:
        if not is_png:
            raise
    # Pillow refuses a PNG for what is no pixel: wrong checksums, texts of megabytes.
    stream.seek(0)
    return decode_image(io.BytesIO(without_metadata(stream.read())), take)


def decode_image(stream: BinaryIO, take: Take) -> Any:
    """As `decode`, whatever the size of the file."""
    stream.seek(0)
    with Image.open(stream, formats=FORMATS) as image:
        check_size(image)
        check_range(image)
        if image.format in ("JPEG", "MPO"):
            check_scans(stream)
        if image.format == "TIFF":
            mend_planes(image)
        highest = highest_value(image)
        image.load()  # raises here what `turn_upright` would pass over
        return take(image, highest)


def check_size(image: Image.Image) -> None:
    """Raises UnreadableImageError for an image that would take more than a gigabyte."""
    width, height = image.size
    # A line of pixels, too, may get bars that make it a square.
    if max(width, height) > MAX_SIDE:
        raise UnreadableImageError(
            f"is too large: {width}x{height} pixels, at most {MAX_SIDE} on a side"
        )
    # Pillow's decoder of WebP holds several copies.
    if image.format == "WEBP" and width * height > MAX_PIXELS // 2:
        raise UnreadableImageError(
            f"is too large: {width}x{height} pixels, of a WebP at most "
            f"{MAX_PIXELS // 2} are read"
        )


def check_range(image: Image.Image) -> None:
    """Raises UnreadableImageError where nobody knows which value is white."""
    is_pgm = image.format == "PPM" and image.mode == "I"  # Pillow scales it to 16 bits
    if image.mode in ("I", "F") and not is_pgm or is_signed(image):
        raise UnreadableImageError(
            f"has pixels of 32 bits or signed ones (mode {image.mode}), whose range is "
            "unknown"
        )


def check_scans(stream: BinaryIO) -> None:
    """Raises UnreadableImageError for a JPEG that would take minutes: each scan passes
    over all pixels, in a few bytes if it changes none."""
    position = stream.tell()
    stream.seek(0)
    scans = count_scans(stream.read())
    stream.seek(position)
    if scans > MAX_SCANS:
        raise UnreadableImageError(f"has {scans} scans, at most {MAX_SCANS} are read")


def reason(error: Exception) -> str:
    """What an error says about an image file, without the file's name."""
    if isinstance(error, UnidentifiedImageError):
        return f"is not recognized as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    text = " ".join(str(error).split())
    if isinstance(error, Image.DecompressionBombError):
        # "Image size (... pixels) exceeds limit of ... pixels", then a guess why.
        return f"is too large: {text.partition(',')[0]}"
    return f"cannot be decoded: {text or type(error).__name__}"


def turn_upright(image: Image.Image) -> None:
    """Turns an image as its EXIF data say, where they can be read."""
    # Many kinds of errors; the pixels are whole all the same.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def to_rgb(image: Image.Image, values: Range | None) -> np.ndarray:
    """A loaded image of any mode as (H, W, 3) uint8, over white where transparent.

    Args:
      image: of any size.
      values: those that are black and white, of an image of 16 bits.
    """
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    # In strips, since of a large image each copy takes much memory.
    for top in range(0, height, STRIP):
        strip = image.crop((0, top, width, min(top + STRIP, height)))
        pixels[top : top + STRIP] = strip_to_rgb(strip, values)
    return pixels


def strip_to_rgb(image: Image.Image, values: Range | None) -> np.ndarray:
    """As `to_rgb`, or where all channels are equal as (H, W, 1)."""
    if image.mode.startswith("I"):
        array = np.asarray(image)
        grey = scaled(array, values or FULL_RANGE)
        if "transparency" in image.info:  # the value that stands for it
            grey[array == image.info["transparency"]] = 255
        return grey[..., None]
    if values not in (None, FULL_RANGE):
        image = image.point(scale_of_colours(values, image.getbands()))
    if image.has_transparency_data:
        canvas = Image.new("RGB", image.size, "white")
        image = image.convert("RGBA")
        canvas.paste(image, mask=image)
        image = canvas
    return np.asarray(image.convert("RGB"))


def scale_of_colours(values: Range, bands: Sequence[str]) -> list[int]:
    """What the upper 8 bits of each band become, for `Image.point`.

    Raises:
      UnreadableImageError: they are the same for all these values.
    """
    low, high = upper_bits(values)
    if low == high:
        raise UnreadableImageError(
            "has colours of 16 bits, of which the upper 8 are read: all values from "
            f"{values[0]} to {values[1]} are one of them"
        )
    colours, alpha = scaled(np.arange(256), (low, high)).tolist(), [*range(256)]
    return [v for band in bands for v in (alpha if band == "A" else colours)]
