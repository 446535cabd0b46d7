"""Pictures of 16 bits, as microscopes, medicine and photographers have them."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from gpwjax import deep_pictures
from gpwjax.pictures import UnreadableImageError, read_image, read_values

RAMP = np.linspace(0, 255, 32).astype(np.uint16)[None].repeat(32, 0)  # 8 bits


def tiff(values: np.ndarray, photometric: int, order: str = "<") -> io.BytesIO:
    """A TIFF file of 16 bits, not compressed: values (H, W) or planes (N, H, W)."""
    planes = values[None] if values.ndim == 2 else values
    stored = [plane.astype(f"{order}u2").tobytes() for plane in planes]
    return tiff_of(stored, planes.shape[1:], photometric, 16, order)


def tiff_of(
    planes: list[bytes],
    shape: tuple[int, int],
    photometric: int,
    bits: int,
    order: str = "<",
    signed: bool = False,
) -> io.BytesIO:
    """A TIFF file of these planes, of as many bits a value."""
    count, (height, width) = len(planes), shape
    starts = [8 + sum(map(len, planes[:number])) for number in range(count)]
    tags = {
        **{256: [width], 257: [height], 258: [bits] * count, 259: [1]},
        **{262: [photometric], 273: starts, 277: [count], 278: [height]},
        **{279: [len(plane) for plane in planes], 284: [2 if count > 1 else 1]},
        **({338: [2]} if count == 2 else {}),  # alpha
        339: [1 + signed],
    }
    pixels = b"".join(planes)
    directory, lists = struct.pack(f"{order}H", len(tags)), b""
    for tag, values in tags.items():
        content = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:  # they are where the directory says
            place = 8 + len(pixels) + len(lists)
            content, lists = struct.pack(f"{order}I", place), lists + content
        directory += struct.pack(f"{order}HHI", tag, 4, len(values)) + content
    start = b"II*\0" if order == "<" else b"MM\0*"
    start += struct.pack(f"{order}I", 8 + len(pixels) + len(lists))
    return io.BytesIO(start + pixels + lists + directory + bytes(4))


def grey_of(file: io.BytesIO) -> np.ndarray:
    image = read_image(file)
    assert (image == image[..., :1]).all()
    return image[..., 0]


def test_white_may_be_zero():
    values = np.array([[0, 257 * 255], [257 * 3, 128]], np.uint16)
    expected = [[255, 0], [252, 255]]
    np.testing.assert_array_equal(grey_of(tiff(values, 0)), expected)
    np.testing.assert_array_equal(grey_of(tiff(values, 1)), 255 - np.array(expected))


@pytest.mark.parametrize("order", ["<", ">"])
def test_planes_of_colours_are_read_as_such(order):
    planes = np.stack([RAMP, RAMP.T, 255 - RAMP])
    image = read_image(tiff(257 * planes, 2, order))
    np.testing.assert_array_equal(image, np.moveaxis(planes, 0, -1))


@pytest.mark.parametrize("most", [65535, 4095, 300])
def test_a_pgm_says_itself_which_value_is_white(most):
    values = np.array([[0, most], [most // 2, most // 3]])
    binary = f"P5 2 2 {most}\n".encode() + values.astype(">u2").tobytes()
    text = f"P2 2 2 {most}\n{' '.join(map(str, values.ravel()))}\n".encode()
    for content in (binary, text):
        np.testing.assert_allclose(
            grey_of(io.BytesIO(content)), values * (255 / most), atol=0.51
        )


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_values_have_no_white(bits):
    file = tiff_of([bytes(64 * bits // 8)], (8, 8), 1, bits, signed=True)
    with pytest.raises(UnreadableImageError, match="signed ones.* range is unknown"):
        read_image(file)


def test_of_12_bits_white_is_known(caplog):
    """Two values in three bytes, as cameras write them."""
    values = np.array([[0, 4095, 2048, 1365], [16, 1, 4080, 300]])
    left, right = values.reshape(-1, 2).T
    packed = np.stack([left >> 4, (left & 15) << 4 | right >> 8, right & 255], -1)
    stored = [packed.astype(np.uint8).tobytes()]
    expected = np.round(values * (255 / 4095))
    np.testing.assert_array_equal(grey_of(tiff_of(stored, (2, 4), 1, 12)), expected)
    assert not caplog.messages
    assert read_values(tiff_of(stored, (2, 4), 1, 12)) == (0, 4095)
    dark = read_image(tiff_of(stored, (2, 4), 1, 12), values=(0, 300))
    np.testing.assert_array_equal(dark[1, :, 0], [14, 1, 255, 255])


def test_planes_that_would_be_mixed_up_are_refused():
    """Of inks, and of grey and alpha."""
    with pytest.raises(UnreadableImageError, match="planes of CMYK"):
        read_image(tiff(np.stack([257 * RAMP] * 4), 5))
    grey = [RAMP.astype(np.uint8).tobytes()] * 2
    with pytest.raises(UnreadableImageError, match="planes of LA"):
        read_image(tiff_of(grey, RAMP.shape, 1, 8))


def saved(kind: str, image: Image.Image) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream


FEW_BITS = [
    (tiff(RAMP, 1), "0 to 255 of 65535, 8 of its 16 bits"),
    (tiff(16 * RAMP, 1), "0 to 4080 of 65535, 12 of its 16 bits"),
    (tiff(65535 - 16 * RAMP, 0), None),
    (tiff(4095 - 16 * RAMP, 0), "15 to 4095 of 65535, 12 of its 16 bits"),
    (saved("PNG", Image.fromarray(16 * RAMP)), "0 to 4080 of 65535, 12"),
    (tiff(np.stack([16 * RAMP] * 3), 2), "0 to 4095 of 65535, 12 of its 16 bits"),
    (saved("PPM", Image.fromarray(RAMP)), "0 to 255 of 65535, 8 of its 16 bits"),
    (tiff(257 * RAMP, 1), None),
    (tiff(0 * RAMP, 1), None),
    (saved("PNG", Image.new("L", (2, 2), 1)), None),
    (saved("BMP", Image.new("RGB", (2, 2), (1, 1, 1))), None),
]


@pytest.mark.parametrize(("file", "said"), FEW_BITS)
def test_values_that_use_few_of_16_bits_are_told(file, said, caplog, monkeypatch):
    monkeypatch.setattr(deep_pictures, "warned_of", set())
    read_image(file)
    if said is None:
        assert not caplog.messages
    else:
        assert len(caplog.messages) == 1
        assert said in caplog.messages[0]
        assert "--range-16-bit auto" in caplog.messages[0]


def test_the_first_such_file_is_named_and_the_others_are_not(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(deep_pictures, "warned_of", set())
    for number in range(3):
        (tmp_path / f"{number}.tif").write_bytes(tiff(RAMP, 1).getvalue())
        read_image(tmp_path / f"{number}.tif")
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / '0.tif'} has values from 0 to 255 ")


GREY = np.array([[100, 4095, 2097], [0, 65535, 2000]], np.uint16)


@pytest.mark.parametrize("values", [(100, 4095), (0, 65535), (2000, 2001)])
def test_two_values_are_black_and_white_and_those_between_are_in_line(values):
    low, high = values
    expected = np.clip((GREY.astype(float) - low) / (high - low), 0, 1) * 255
    for inverted in (False, True):
        found = read_image(tiff(GREY, int(not inverted)), values=values)
        found = 255 - found if inverted else found
        np.testing.assert_allclose(found, expected[..., None].repeat(3, -1), atol=0.51)


def test_of_colours_the_upper_8_bits_are_scaled():
    planes = np.stack([0 * RAMP, 16 * RAMP, 0 * RAMP + 4095])
    image = read_image(tiff(planes, 2), values=(0, 4095))
    np.testing.assert_array_equal(image[..., 1], RAMP // 16 * 17)
    assert (image[..., 0] == 0).all()
    assert (image[..., 2] == 255).all()
    with pytest.raises(UnreadableImageError, match="all values from 0 to 255 are one"):
        read_image(tiff(planes, 2), values=(0, 255))


def test_what_has_8_bits_is_as_it_is(caplog):
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    found = read_image(saved("PNG", image), values=(100, 200))
    np.testing.assert_array_equal(found[..., 0], np.asarray(image))
    assert read_values(saved("PNG", image)) is None


def test_the_lowest_and_the_highest_value(caplog):
    assert read_values(tiff(16 * RAMP + 7, 1)) == (7, 4087)
    assert read_values(tiff(np.stack([16 * RAMP] * 3), 2)) == (0, 4095)
    read_image(tiff(RAMP, 1), values=(0, 255))
    assert not caplog.messages
