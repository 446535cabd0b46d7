"""Image files of all kinds as arrays."""

import io
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpwjax.picture_files import has_image_name
from gpwjax.pictures import MAX_PIXELS, UnreadableImageError, read_image
from train.data.source import file_stamp

ORIENTATION = 0x0112


def encode(image: np.ndarray | Image.Image, kind: str = "PNG", **options) -> io.BytesIO:
    """An image as an open file."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def header_of_png(width: int, height: int) -> bytes:
    """A PNG file of grey pixels that ends where they begin."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        digest = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + digest

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


def fails(file: Path | io.BytesIO) -> str:
    """The reason for which a file cannot be read, a line that names no place."""
    with pytest.raises(UnreadableImageError) as error:
        read_image(file)
    reason = str(error.value)
    assert re.fullmatch(r"[^\n]{5,120}", reason)
    assert not re.search("0x|/", reason)
    return reason


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_give_the_pixels(kind):
    pixels = noise(5, 7, 3)
    options = {"lossless": True} if kind == "WEBP" else {}
    image = read_image(encode(pixels, kind, **options))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_gives_nearly_the_pixels(options):
    ramp = np.linspace(0, 255, 40).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp, ramp[:, None], 128), -1)
    pixels = pixels.astype(np.uint8)
    image = read_image(encode(pixels, "JPEG", quality=95, **options))
    assert image.shape == (40, 40, 3)
    assert np.abs(image.astype(int) - pixels).mean() < 3


def test_cmyk_jpeg_is_turned_to_rgb():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan: red
    pixels = read_image(encode(image, "JPEG", quality=95)).astype(int)
    assert np.abs(pixels - (255, 0, 0)).max() < 8


def test_one_pixel_is_an_image():
    assert read_image(encode(noise(1, 1, 3))).shape == (1, 1, 3)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_images_it_is_the_first(kind):
    first, second = (Image.new("RGB", (4, 3), c) for c in ((255, 0, 0), (0, 255, 0)))
    options = {"lossless": True} if kind == "WEBP" else {}
    file = encode(first, kind, save_all=True, append_images=[second], **options)
    np.testing.assert_array_equal(read_image(file), np.full((3, 4, 3), (255, 0, 0)))


def test_grey_and_black_and_white_have_three_equal_channels():
    grey = noise(6, 5)
    np.testing.assert_array_equal(
        read_image(encode(grey)), np.repeat(grey[..., None], 3, -1)
    )
    bits = grey > 100
    np.testing.assert_array_equal(
        read_image(encode(bits)), np.repeat(255 * bits[..., None], 3, -1)
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_not_clipped(kind):
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    image = read_image(encode(values, kind))
    expected = np.round(values / 257)  # 65535 / 257 is 255
    np.testing.assert_array_equal(image, np.repeat(expected[..., None], 3, -1))


def test_the_transparent_value_of_16_bits_is_white():
    values = np.array([[0, 1000, 40000]], np.uint16)
    image = read_image(encode(values, transparency=1000))
    np.testing.assert_array_equal(image[0, :, 0], [0, 255, round(40000 / 257)])


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_over_white(channels):
    value, alpha = np.meshgrid(np.arange(256), np.arange(256))
    colours = [value, 255 - value, value // 2][: channels - 1]
    pixels = np.stack([*colours, alpha], -1).astype(np.uint8)
    image = read_image(encode(pixels))
    for channel in range(3):
        colour = pixels[..., channel % (channels - 1)]
        expected = np.round((colour * (alpha / 255)) + 255 * (1 - alpha / 255))
        np.testing.assert_array_equal(image[..., channel], expected)


@pytest.mark.parametrize(
    ("transparency", "expected"),
    [
        (None, [(10, 20, 30), (200, 100, 0)]),
        (1, [(10, 20, 30), (255, 255, 255)]),  # the second colour is transparent
        (b"\xff\x33", [(10, 20, 30), (244, 224, 204)]),  # it is opaque by a fifth
    ],
)
def test_palettes_with_and_without_transparency(transparency, expected):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    options = {} if transparency is None else {"transparency": transparency}
    np.testing.assert_array_equal(read_image(encode(image, **options)), [expected])


def test_the_transparent_colour_is_white():
    pixels = np.array([[(1, 2, 3), (1, 2, 4)]], np.uint8)
    image = read_image(encode(pixels, transparency=(1, 2, 3)))
    np.testing.assert_array_equal(image, [[(255, 255, 255), (1, 2, 4)]])


# The EXIF standard: where the first row and the first column of a file are seen.
PLACES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def place_rows_and_columns(stored: np.ndarray, row: str, column: str) -> np.ndarray:
    """An image, pixel by pixel, whose first row and column belong to these sides."""
    height, width = stored.shape[:2]
    swapped = row in ("left", "right")
    seen = np.zeros((width, height, 3) if swapped else stored.shape, np.uint8)
    for i in range(height):
        for j in range(width):
            r = i if row in ("top", "left") else height - 1 - i
            c = j if column in ("top", "left") else width - 1 - j
            seen[(c, r) if swapped else (r, c)] = stored[i, j]
    return seen


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", PLACES)
def test_exif_orientation_is_applied(kind, orientation):
    stored = noise(3, 4, 3)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    file = encode(stored, kind, exif=exif, **options)
    expected = place_rows_and_columns(stored, *PLACES[orientation])
    np.testing.assert_array_equal(read_image(file), expected)
    if kind != "TIFF":
        np.testing.assert_array_equal(read_image(file, turn=False), stored)


def test_a_jpeg_is_turned():
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # the first row is on the right
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8] = 255
    image = read_image(encode(stored, "JPEG", exif=exif, quality=95))
    assert image.shape == (32, 16, 3)
    assert image[:, 8:].min() > 240
    assert image[:, :8].max() < 15


def test_grey_of_16_bits_is_turned():
    values = np.array([[0, 257 * 100], [257 * 200, 257 * 255]], np.uint16)
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    image = read_image(encode(values, exif=exif))
    np.testing.assert_array_equal(image[..., 0], [[255, 200], [100, 0]])


@pytest.mark.parametrize("exif", [b"Exif\0\0no header", b"Exif\0\0II*\0\x08\0\0\0\x40"])
def test_broken_exif_data_do_not_matter(exif):
    pixels = noise(3, 4, 3)
    np.testing.assert_array_equal(read_image(encode(pixels, exif=exif)), pixels)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
    ],
)
def test_a_cut_file_is_an_error_or_whole(kind, options):
    """Never an image of which a part is missing."""
    file = encode(noise(9, 13, 3), kind, **options).getvalue()
    whole = read_image(io.BytesIO(file))
    for length in range(len(file)):
        try:
            image = read_image(io.BytesIO(file[:length]))
        except UnreadableImageError:
            continue
        assert length > len(file) - 25  # what is missing is the end of a PNG file
        np.testing.assert_array_equal(image, whole)


def test_a_large_cut_jpeg_is_an_error():
    file = encode(noise(400, 400, 3), "JPEG", quality=95).getvalue()
    for share in (0.3, 0.6, 0.9, 0.999):
        reason = fails(io.BytesIO(file[: int(share * len(file))]))
        assert "image file is truncated" in reason


def test_files_that_are_no_images_are_errors(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "page.jpg").write_text("<html><body>404</body></html>")
    (tmp_path / "drawing.png").write_text("<svg width='9' height='9'/>")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    assert fails(tmp_path / "empty.png") == "is empty"
    assert fails(io.BytesIO()) == "is empty"
    for name in ("text.jpg", "page.jpg", "drawing.png"):
        assert fails(tmp_path / name).startswith("is not recognized as JPEG, PNG,")
    assert fails(io.BytesIO(b"no image")).startswith("is not recognized as JPEG, PNG,")
    # Others that Pillow knows: an EPS file is a program.
    for kind in ("EPS", "PCX"):
        assert fails(encode(noise(2, 2, 3), kind)).startswith("is not recognized")
    assert fails(tmp_path / "folder.png") == "is not a regular file"
    for missing in ("nowhere.png", "dangling.png"):
        assert fails(tmp_path / missing) == "cannot be read: No such file or directory"
    assert "symbolic links" in fails(tmp_path / "circle.png")
    assert "name too long" in fails(tmp_path / ("x" * 300))
    assert "null byte" in fails(tmp_path / "a\0b")


def test_a_reason_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise ValueError("two\n  lines")

    monkeypatch.setattr(Image, "open", fail)
    assert fails(io.BytesIO(b"x")) == "cannot be decoded: two lines"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert fails(tmp_path / "pipe.png") == "is not a regular file"


def test_a_file_without_permission_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "secret.png").write_bytes(encode(noise(2, 2, 3)).getvalue())

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert fails(tmp_path / "secret.png") == "cannot be read: Permission denied"


@pytest.mark.parametrize("size", [(20_000, 10_000), (1, MAX_PIXELS + 1)])
def test_a_huge_image_is_refused_from_its_header(size):
    pixels = size[0] * size[1]
    reason = fails(io.BytesIO(header_of_png(*size)))
    assert reason == (
        f"is too large: Image size ({pixels} pixels) exceeds limit of 100000000 pixels"
    )


@pytest.mark.parametrize("size", [(1, 100_000), (10_001, 1)])
def test_a_long_line_of_pixels_is_refused(size):
    reason = fails(encode(Image.new("L", size)))
    width, height = size
    assert reason == f"is too large: {width}x{height} pixels, at most 10000 on a side"
    longest = Image.new("L", tuple(min(side, 10_000) for side in size))
    assert read_image(encode(longest)).shape == (longest.height, longest.width, 3)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    file = tmp_path / "a.webp"
    file.write_bytes(encode(noise(4, 4, 3), "WEBP").getvalue())
    os.truncate(file, 2**33)  # zeros, which take no room on the disk
    assert fails(file) == "is too large: 8589934592 bytes, at most 400000000"


# As the program has it; pytest makes errors of warnings again.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_of_a_webp_fewer_pixels_are_read():
    """The decoder takes 8 bytes for each, before the pixels are there."""
    animated = {"save_all": True, "append_images": [Image.new("RGB", (4, 4), "red")]}
    file = encode(Image.new("RGB", (4, 4)), "WEBP", **animated).getvalue()
    place = file.index(b"VP8X") + 12  # of width - 1 and height - 1, 3 bytes each
    size = struct.pack("<I", 8190)[:3] * 2
    reason = fails(io.BytesIO(file[:place] + size + file[place + 6 :]))
    assert reason == (
        "is too large: 8191x8191 pixels, of a WebP at most 50000000 are read"
    )


def test_a_jpeg_of_very_many_scans_is_refused():
    """For 16 million pixels a scan may have 53 bytes, and take 20 milliseconds."""
    file = encode(noise(20, 20, 3), "JPEG", progressive=True).getvalue()
    whole, last = file[:-2], file[file.rindex(b"\xff\xda") : -2]
    scans = file.count(b"\xff\xda")
    read_image(io.BytesIO(whole + last * (100 - scans) + b"\xff\xd9"))
    reason = fails(io.BytesIO(whole + last * (101 - scans) + b"\xff\xd9"))
    assert reason == "has 101 scans, at most 100 are read"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16"])
def test_the_largest_images_take_less_than_a_gigabyte(tmp_path, mode):
    Image.new(mode, (10_000, 10_000)).save(tmp_path / "a.png", compress_level=1)
    program = """
import resource
from pathlib import Path
from gpwjax.pictures import read_image

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = most()
assert read_image(Path("a.png")).shape == (10_000, 10_000, 3)
print((most() - before) / 2**20)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_of_several_strips_is_that_of_its_parts(mode):
    values = noise(600, 2, 4)
    if mode == "I;16":
        image = Image.fromarray(values.view(np.uint16)[..., 0])
    else:
        image = Image.fromarray(values).convert(mode)
    options = {"transparency": 7} if mode in ("P", "I;16") else {}
    parts = [image.crop((0, top, 2, top + 100)) for top in range(0, 600, 100)]
    np.testing.assert_array_equal(
        read_image(encode(image, **options)),
        np.concatenate([read_image(encode(part, **options)) for part in parts]),
    )


# As the program has it; pytest makes errors of warnings again.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_below_the_cap_is_decoded():
    assert "truncated" in fails(io.BytesIO(header_of_png(10_000, 10_000)))


def test_reading_prints_nothing_of_its_own(tmp_path):
    """Neither of images above Pillow's limit nor of broken metadata."""
    (tmp_path / "large.png").write_bytes(header_of_png(10_000, 9_000))
    exif = b"Exif\0\0II*\0\x08\0\0\0\x40"
    (tmp_path / "broken.png").write_bytes(encode(noise(2, 2, 3), exif=exif).getvalue())
    program = """
import sys
from pathlib import Path
from gpwjax.pictures import read_image

assert read_image(Path(sys.argv[1])).shape == (2, 2, 3)
try:
    read_image(Path(sys.argv[2]))
except Exception as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "broken.png", "large.png"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "truncated" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_unknown_range_are_refused(mode):
    reason = fails(encode(Image.new(mode, (2, 2)), "TIFF"))
    assert "32 bits" in reason


def test_a_file_that_is_open_stays_open_and_is_read_from_its_start():
    file = encode(noise(2, 2, 3))  # at its end
    np.testing.assert_array_equal(read_image(file), read_image(file))
    broken = io.BytesIO(b"no image")
    fails(broken)
    assert not file.closed
    assert not broken.closed


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts files in /proc")
def test_no_file_is_left_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "a.gif").write_bytes(encode(noise(4, 4, 3), "GIF").getvalue())
    (tmp_path / "a.tiff").write_bytes(encode(noise(4, 4, 3), "TIFF").getvalue())
    (tmp_path / "text.png").write_text("no image")
    kept = [read_image(tmp_path / "a.gif"), read_image(tmp_path / "a.tiff")]
    fails(tmp_path / "text.png")
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(kept) == 2


def test_images_are_known_by_their_names():
    for name in ("a.jpg", "a.JPEG", "a.png", "a.WebP", "a.gif", "a.tif", "a.ppm"):
        assert has_image_name(Path(name))
    for name in ("a.txt", "a.csv", "a.pdf", "a", ".png", "png"):
        assert not has_image_name(Path(name))


def test_the_stamp_of_a_file_changes_with_it(tmp_path):
    file = tmp_path / "a.png"
    stamps = [file_stamp(file)]
    file.write_bytes(b"one")
    os.utime(file, ns=(0, 1_000))
    stamps.append(file_stamp(file))
    assert file_stamp(file) == stamps[-1]
    os.utime(file, ns=(0, 2_000))
    stamps.append(file_stamp(file))
    file.write_bytes(b"three")
    os.utime(file, ns=(0, 2_000))
    stamps.append(file_stamp(file))
    file.chmod(0o600 if file.stat().st_mode & 0o077 else 0o644)
    stamps.append(file_stamp(file))
    assert len(set(stamps)) == 5
    assert file_stamp(tmp_path / "a\0b") is None
