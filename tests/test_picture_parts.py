"""What is in a picture file beside its pixels."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from gpwjax.pictures import UnreadableImageError, read_image

GREY = np.linspace(0, 255, 32).astype(np.uint8)
PIXELS = np.stack(np.broadcast_arrays(GREY[:, None], GREY, np.uint8(128)), -1)


def encode(kind: str, pixels: np.ndarray = PIXELS, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def read(content: bytes) -> np.ndarray:
    return read_image(io.BytesIO(content))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_video_behind_a_jpeg_is_not_looked_at(progressive):
    """As in motion photos: in 12 MB about 200 pairs of bytes look like a scan."""
    image = encode("JPEG", quality=95, progressive=progressive)
    video = np.random.default_rng(12).bytes(12_000_000)
    assert video.count(b"\xff\xda") > 100
    np.testing.assert_array_equal(read(image + video), read(image))


def test_a_preview_in_a_jpegs_metadata_is_not_looked_at():
    scans = b"\xff\xda\xff\xd9" * 200
    image = encode("JPEG", quality=95)
    behind = image.index(b"\xff\xdb")
    segment = b"\xff\xe5" + (len(scans) + 2).to_bytes(2) + scans
    np.testing.assert_array_equal(
        read(image[:behind] + segment + image[behind:]), read(image)
    )


def test_scans_are_counted_to_the_images_own_end():
    """What libjpeg passes over does not end it: bytes between segments, markers that
    are filled up or come amid the pixels."""
    image = encode("JPEG", progressive=True)
    last = image[image.rindex(b"\xff\xda") : -2]
    for junk in (b"", b"\0" * 9, b"\xff\xff", b"\xff\xd0", b"\xff\0", b"\xff\x01"):
        scans = image[:-2] + (junk + last) * 120 + b"\xff\xd9"
        with pytest.raises(UnreadableImageError, match=r"has 1\d\d scans, at most 100"):
            read(scans)


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content).to_bytes(4)
    return len(content).to_bytes(4) + kind + content + checksum


def after_header(png: bytes, added: bytes) -> bytes:
    return png[:33] + added + png[33:]


def text_of_megabytes(add: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    getattr(info, add)("k", "x" * 2_000_000, zip=True)
    return encode("PNG", pnginfo=info)


PHYS = chunk(b"pHYs", bytes(9))
METADATA = {
    "wrong checksum": after_header(encode("PNG"), PHYS[:-1] + b"\1"),
    "cut": after_header(encode("PNG"), chunk(b"pHYs", b"")),
    "ztxt": text_of_megabytes("add_text"),
    "itxt": text_of_megabytes("add_itxt"),
    "icc": encode("PNG", icc_profile=bytes(2_000_000)),
    "behind the pixels": encode("PNG")[:-12]
    + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2_000_000)))
    + chunk(b"IEND", b""),
    "followed by others": text_of_megabytes("add_text") + encode("PNG", 0 * PIXELS),
}


@pytest.mark.parametrize("name", METADATA)
def test_a_png_is_its_pixels_whatever_its_metadata(name):
    np.testing.assert_array_equal(read(METADATA[name]), PIXELS)


def test_a_png_with_damaged_metadata_is_turned_and_transparent_all_the_same():
    exif = Image.Exif()
    exif[0x0112] = 3  # by 180 degrees
    png = encode("PNG", exif=exif, transparency=(255, 255, 128))
    expected = PIXELS[::-1, ::-1].copy()
    expected[0, 0] = 255
    damaged = after_header(png, PHYS[:-1] + b"\1")
    np.testing.assert_array_equal(read(damaged), expected)
    place = damaged.index(b"eXIf") + 4  # where the data say how to turn it
    without = damaged[:place] + b"\1" + damaged[place + 1 :]
    np.testing.assert_array_equal(read(without), expected[::-1, ::-1])


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS"])
def test_a_png_with_damaged_pixels_stays_refused(kind):
    palette = Image.fromarray(PIXELS).quantize(8)
    stream = io.BytesIO()
    palette.save(stream, "PNG", transparency=3)
    png = bytearray(stream.getvalue())
    png[png.index(kind) + 5] ^= 1
    with pytest.raises(UnreadableImageError):
        read(bytes(png))


def test_a_png_of_hostile_size_stays_refused():
    header = (20_000).to_bytes(4) * 2 + bytes([8, 0, 0, 0, 0])
    png = encode("PNG")[:8] + chunk(b"IHDR", header) + PHYS[:-1] + b"\1"
    with pytest.raises(UnreadableImageError, match="too large"):
        read(png + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
