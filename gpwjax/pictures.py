"""Picture files as arrays."""

import contextlib
import io
import logging
import os
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gpwjax.picture_parts import count_scans, without_metadata

log = logging.getLogger(__name__)

# Pillow knows more, among them formats that other programs decode (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_SIDE = 10_000  # pixels; larger images are taken for decompression bombs
MAX_PIXELS = MAX_SIDE**2
MAX_BYTES = 4 * MAX_PIXELS  # of a file: what the largest image takes, not compressed
MAX_SCANS = 100  # of a JPEG, as in libtiff; a progressive one has about 10
STRIP = 256  # rows
PNG = b"\x89PNG\r\n\x1a\n"  # the first bytes of one
BITS, PHOTOMETRIC, PLANES = 258, 262, 284  # tags of a TIFF
WHITE_IS_ZERO = 0  # a photometric interpretation
FEW_BITS = 12  # of 16: what no screen shows, as 15 of 255 is the highest value
warned_of: set[int] = set()  # numbers of bits

# For the whole process: images are read in threads, and none can filter its warnings
# alone. Pillow refuses an image of more than twice its limit before it makes room for
# it, and warns from the limit on. Its other warnings are of broken metadata.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class UnreadableImageError(Exception):
    """An image cannot be read; the message says why."""


def read_image(file: Path | BinaryIO, turn: bool = True) -> np.ndarray:
    """An image file, or an open one, as (H, W, 3) uint8, transparent pixels over white.

    Of a file with several images it is the first.

    Args:
      file: its path, or the file opened for reading bytes.
      turn: turn the image as its EXIF data say. A TIFF is always turned.

    Raises:
      UnreadableImageError: it is none of FORMATS, broken, cut off or too large. The
        message is one line that goes on from the file's name.
    """
    try:
        if not isinstance(file, Path):
            return decode(file, turn)
        if file.exists() and not file.is_file():
            raise UnreadableImageError("is not a regular file")  # a pipe would block
        with file.open("rb") as stream:
            return decode(stream, turn)
    except UnreadableImageError:
        raise
    # Pillow raises many kinds of errors on broken files.
    except Exception as error:
        raise UnreadableImageError(reason(error)) from error


def decode(stream: BinaryIO, turn: bool) -> np.ndarray:
    """An open image file as (H, W, 3) uint8; raises what Pillow does."""
    size = stream.seek(0, os.SEEK_END)
    if not size:
        raise UnreadableImageError("is empty")
    if size > MAX_BYTES:
        raise UnreadableImageError(f"is too large: {size} bytes, at most {MAX_BYTES}")
    stream.seek(0)
    is_png = stream.read(len(PNG)) == PNG
    try:
        return decode_image(stream, turn)
    except Exception:
        if not is_png:
            raise
    # Pillow refuses a PNG for what is no pixel: wrong checksums, texts of megabytes.
    stream.seek(0)
    return decode_image(io.BytesIO(without_metadata(stream.read())), turn)


def decode_image(stream: BinaryIO, turn: bool) -> np.ndarray:
    """As `decode`, whatever the size of the file."""
    stream.seek(0)
    with Image.open(stream, formats=FORMATS) as image:
        check_size(image)
        check_range(image)
        if image.format in ("JPEG", "MPO"):
            check_scans(stream)
        if image.format == "TIFF":
            mend_planes(image)
        is_deep = has_16_bits(image)
        image.load()  # raises here what `turn_upright` would pass over
        if is_deep:
            warn_of_range(image, getattr(stream, "name", "a picture"))
        # Pillow inverts only those of up to 8 bits.
        is_inverted = image.mode.startswith("I;16") and is_white_zero(image)
        if turn:
            turn_upright(image)
        pixels = to_rgb(image)
        return np.subtract(255, pixels, out=pixels) if is_inverted else pixels


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
    if image.mode in ("I", "F") and not is_pgm:
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


def mend_planes(image: Image.Image) -> None:
    """Pillow takes planes of 16 bits for such of 8, where they are not compressed."""
    if image.tag_v2.get(PLANES) != 2 or set(image.tag_v2.get(BITS, ())) != {16}:
        return
    ending = ";16L" if image.tag_v2.prefix == b"II" else ";16B"
    image.tile = [
        tile._replace(args=(tile.args[0] + ending, *tile.args[1:]))
        if tile.args[0] in "RGBA"
        else tile
        for tile in image.tile
    ]


def has_16_bits(image: Image.Image) -> bool:
    """Whether the values of an image that is not loaded yet have 16 bits."""
    return image.format in ("PNG", "TIFF", "PPM") and ";16" in str(image.tile)


def is_white_zero(image: Image.Image) -> bool:
    return image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO


def warn_of_range(image: Image.Image, name: str | Path) -> None:
    """Says once for each number of bits that a loaded image of 16 bits uses only so
    many, as those of microscopes and of medicine do."""
    extrema = image.getextrema()
    if image.mode.startswith("I"):
        low, high = extrema
    else:  # of colours the upper 8 bits are there
        colours = zip(image.getbands(), extrema, strict=True)
        lows, highs = zip(*(of for band, of in colours if band != "A"), strict=True)
        low, high = 256 * min(lows), 256 * max(highs) + 255
    bits = high.bit_length()
    if 0 < bits <= FEW_BITS and bits not in warned_of:
        warned_of.add(bits)
        log.warning(
            "%s has values from %d to %d of 65535, %d of its 16 bits, and is read as "
            "such: nearly one colour. Other such pictures are not named",
            name,
            low,
            high,
            bits,
        )


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


def to_rgb(image: Image.Image) -> np.ndarray:
    """A loaded image of any mode as (H, W, 3) uint8, over white where transparent."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    # In strips, since of a large image each copy takes much memory.
    for top in range(0, height, STRIP):
        strip = image.crop((0, top, width, min(top + STRIP, height)))
        pixels[top : top + STRIP] = strip_to_rgb(strip)
    return pixels


def strip_to_rgb(image: Image.Image) -> np.ndarray:
    """As `to_rgb`, or where all channels are equal as (H, W, 1)."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # rounded
        if "transparency" in image.info:  # the value that stands for it
            grey[values == image.info["transparency"]] = 255
        return grey[..., None]
    if image.has_transparency_data:
        canvas = Image.new("RGB", image.size, "white")
        image = image.convert("RGBA")
        canvas.paste(image, mask=image)
        image = canvas
    return np.asarray(image.convert("RGB"))
