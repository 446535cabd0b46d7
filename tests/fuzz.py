"""Broken files for the readers of foreign ones: small good files, mutated.

    python fuzz.py READER MINUTES FILE

Reads them for some minutes and prints what came of it, a line of JSON. Each is written
to FILE first, where it stays if it ends the process: by a crash, by taking longer than
SECONDS, or by taking more memory than KIB.
"""

import functools
import io
import json
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from flax import linen as nn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gpwjax import create_model, from_keras, load, save
from gpwjax.mobilenet import MobileNet
from gpwjax.models import MODELS
from gpwjax.pictures import UnreadableImageError, read_image
from gpwjax.weights import expected_arrays, unflatten
from train.config import RunError
from train.data import table

SECONDS = 5  # for one file
KIB = 2**20  # beyond what the process has before


class Reader(NamedTuple):
    """A reader of files.

    Attributes:
      read: reads a file, and asserts what is true of all that can be read.
      refusal: what it raises for others, with a message of one line.
      good: makes contents of files that can be read.
      made: draws contents that are not mutations of those.
    """

    read: Callable[[Path], None]
    refusal: type[Exception]
    good: Callable[[], list[bytes]]
    made: Callable[[], st.SearchStrategy[bytes]] = st.binary


# Quick to make: in the place of MobileNet.
no_stages = functools.partial(MobileNet, stages=())


def without_blocks() -> nn.Module:
    """The MobileNet of the tests here, where it is made as `no_stages` says."""
    return create_model("mobilenet", 2, 16)


def read_weights(file: Path) -> None:
    classifier = load(file)
    assert len(classifier.classes) == classifier.model.classes
    assert 1 <= classifier.metadata["image_size"] <= 10_000


@functools.cache
def weights_files() -> list[bytes]:
    shapes = expected_arrays(without_blocks())
    arrays = {name: np.full(x.shape, 0.5, np.float32) for name, x in shapes.items()}
    about = {"classes": ["a", "b"], "image_size": 32, "stored_size": 28, "pad": True}
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder, "net"), without_blocks(), unflatten(arrays), **about)
        return [Path(folder, "net").read_bytes()]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values),
    max_leaves=5,
) | st.sampled_from(["I64", "F8_E4M3", "bfloat16", "nearest", 0, 2**62, [2**40] * 3])


@st.composite
def other_headers(draw: st.DrawFn) -> bytes:
    """A weights file with other entries in its header."""
    (content,) = weights_files()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:end])
    about = json.loads(header["__metadata__"]["gpwjax"])
    arrays = [entry for name, entry in header.items() if name != "__metadata__"]
    places = [header, about, about["model"], *arrays]
    for _ in range(draw(st.integers(1, 3))):
        entries = draw(st.sampled_from(places))
        name = draw(st.sampled_from(sorted(entries)) | st.text(max_size=3))
        entries[name] = draw(JSON_VALUES)
        if draw(st.booleans()):
            del entries[name]
    if isinstance(header.get("__metadata__"), dict):
        header["__metadata__"]["gpwjax"] = json.dumps(about)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[end:]


def read_keras(file: Path) -> None:
    from_keras(without_blocks(), file)


@functools.cache
def keras_files() -> list[bytes]:
    shapes = {"conv1/kernel:0": (3, 3, 3, 32), "conv_preds/bias:0": (2,)}
    shapes["conv_preds/kernel:0"] = (1, 1, 32, 2)
    for array in ("gamma", "beta", "moving_mean", "moving_variance"):
        shapes[f"conv1_bn/{array}:0"] = (32,)
    contents = []
    for root, version in (("", "earliest"), ("model_weights/", "latest")):
        stream = io.BytesIO()
        with h5py.File(stream, "w", libver=version) as file:
            for name, shape in shapes.items():
                layer, _, _ = name.rpartition("/")
                file[f"{root}{layer}/{name}"] = np.full(shape, 0.5, np.float32)
        contents.append(stream.getvalue())
    return [*contents, *keras_3_files(shapes)]


def keras_3_files(shapes: dict[str, tuple[int, ...]]) -> list[bytes]:
    """A .weights.h5 file, and a .keras archive around it."""
    stream, archive = io.BytesIO(), io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, shape in shapes.items():
            layer, _, _ = name.rpartition("/")
            kind = "batch_normalization" if layer == "conv1_bn" else layer
            group = file.require_group(f"layers/{kind}/vars")
            group.attrs["name"] = layer
            place = len(group) if layer == "conv1_bn" else int("bias" in name)
            group[str(place)] = np.full(shape, 0.5, np.float32)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("model.weights.h5", stream.getvalue())
    return [stream.getvalue(), archive.getvalue()]


def read_picture(file: Path) -> None:
    image = read_image(file)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert min(image.shape) >= 1
    assert image.shape[2] == 3


@functools.cache
def pictures() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    animated = {"save_all": True, "append_images": [image.rotate(180)]}
    forms = [
        *(("RGB", "JPEG", {"progressive": p, "exif": exif}) for p in (False, True)),
        ("CMYK", "JPEG", {}),
        *((m, "PNG", {"exif": exif}) for m in ("1", "L", "LA", "P", "RGB", "RGBA")),
        ("I;16", "PNG", {"transparency": 3}),
        ("RGBA", "WEBP", {"lossless": True, "exif": exif, **animated}),
        ("RGB", "WEBP", {}),
        ("P", "GIF", animated),
        *((mode, "BMP", {}) for mode in ("1", "P", "RGB")),
        *((mode, "TIFF", {}) for mode in ("L", "RGBA", "CMYK", "I;16")),
        *(
            ("RGB", "TIFF", {"compression": c})
            for c in ("tiff_lzw", "jpeg", "packbits")
        ),
        *((mode, "PPM", {}) for mode in ("1", "L", "RGB")),
    ]
    contents = []
    for mode, kind, options in forms:
        stream = io.BytesIO()
        picture = image.convert("L" if mode == "I;16" else mode)
        picture.convert(mode).save(stream, kind, **options)
        contents.append(stream.getvalue())
    return [*contents, b"P3 2 1 255 1 2 3 # six numbers\n4 5 6\n"]


def read_followed(file: Path) -> None:
    """Reads a picture, which what follows it changes in nothing."""
    content = file.read_bytes()
    # The last one is text, which goes on: Pillow reads numbers to the file's end.
    alone = next((good for good in pictures()[:-1] if content.startswith(good)), None)
    if alone is None:
        read_picture(file)
        return
    try:
        image = read_image(file)
    except UnreadableImageError as error:
        raise AssertionError("refused for what follows it") from error
    np.testing.assert_array_equal(image, read_image(io.BytesIO(alone)))


# What a picture may be followed by, whole or in part: markers of a JPEG, chunks of a
# PNG, the head of a video, other pictures.
FOLLOWING = st.lists(
    st.binary()
    | st.sampled_from([b"\xff\xd8", b"\xff\xda", b"\xff\xd9", b"\xff\xe1\xff\xff"])
    | st.sampled_from([b"\0\0\0\rIHDR", b"\0\0\0\0IDAT", b"\0\0\0\x18ftypmp42"])
    | st.sampled_from(pictures()),
    max_size=200,
).map(b"".join)


def followed_pictures() -> st.SearchStrategy[bytes]:
    return st.tuples(st.sampled_from(pictures()), FOLLOWING).map(b"".join)


def read_table(file: Path) -> None:
    for name in ("a.png", "c\nd"):  # a table of no file at all is refused
        (file.parent / name).touch()
    source = table.source(file)
    assert source.count
    for number in range(min(source.count, 20)):
        try:
            source.read(number)
        except UnreadableImageError as error:
            assert_one_line(error)


def tables() -> list[bytes]:
    return [
        b"path,label,split\na.png,cat,train\nb/c.jpg,dog,test\na.png,cat,train\n",
        '\ufeffpath,label\r\n"a,b.png","x ""y"""\r\n"c\nd",é😀\r\n'.encode(),
        b"path,label\n../a.png,a\n/dev/zero,b\n",
    ]


CELLS = st.sampled_from(
    ["path", "label", "split", "train", "val", "", ".", "/dev/zero", "a\0b", '"', "\r"]
)


def other_tables() -> st.SearchStrategy[bytes]:
    rows = st.lists(st.lists(CELLS | st.text(max_size=3), max_size=4), max_size=6)
    texts = st.tuples(rows, st.sampled_from([",", ";", "\t"])).map(
        lambda drawn: "\n".join(drawn[1].join(row) for row in drawn[0])
    )
    headed = texts.map(lambda text: f"path,label\n{text}")
    return st.tuples(
        texts | headed, st.sampled_from(["utf-8", "utf-16", "latin-1"])
    ).map(lambda drawn: drawn[0].encode(drawn[1], errors="replace"))


READERS = {
    "load": Reader(read_weights, ValueError, weights_files, other_headers),
    "from_keras": Reader(read_keras, ValueError, keras_files),
    "read_image": Reader(read_picture, UnreadableImageError, pictures),
    "what follows": Reader(
        read_followed, UnreadableImageError, pictures, followed_pictures
    ),
    "table": Reader(read_table, RunError, tables, other_tables),
}

PIECES = st.binary(max_size=8) | st.sampled_from(
    [
        bytes([byte]) * count
        for byte in (0, 1, 0x7F, 0x80, 0xFF)
        for count in (1, 2, 4, 8)
    ]
)
# What is done, at what byte, and with which bytes: the last also count those removed.
EDITS = st.tuples(
    st.sampled_from(["replace", "insert", "remove", "repeat", "cut"]),
    st.integers(0, 200) | st.integers(0, 2**20),
    PIECES,
)


def edited(content: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    for kind, at, piece in edits:
        at %= len(content) + 1
        before, after = content[:at], content[at:]
        content = {
            "replace": before + piece + after[len(piece) :],
            "insert": before + piece + after,
            "remove": before + after[len(piece) :],
            "repeat": before + after[:64] * (1 + len(piece)) + after[64:],
            "cut": before,
        }[kind]
    return content


def broken(reader: Reader) -> st.SearchStrategy[bytes]:
    """Draws contents of files, nearly all of them broken."""
    mutated = st.builds(
        edited, st.sampled_from(reader.good()), st.lists(EDITS, min_size=1, max_size=6)
    )
    return mutated | reader.made()


def read(reader: Reader, file: Path, content: bytes) -> bool:
    """Whether a file of that content can be read."""
    file.write_bytes(content)
    try:
        reader.read(file)
    except reader.refusal as error:
        assert_one_line(error)
        return False
    return True


def assert_one_line(error: Exception) -> None:
    assert 5 < len(str(error)) < 30_000
    assert str(error).isprintable()


def main(reader: Reader, minutes: float, file: Path) -> None:
    for content in reader.good():
        read(reader, file, content)  # what is only imported or compiled once
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = {"files": 0, "read": 0, "longest_s": 0.0, "most_MiB": 0.0}

    @settings(
        max_examples=1000,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(broken(reader))
    def read_broken(content: bytes) -> None:
        begun = time.monotonic()
        signal.alarm(SECONDS)  # which ends the process
        told["read"] += read(reader, file, content)
        signal.alarm(0)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
        if used > KIB:
            print(f"took {used / 1024:.0f} MiB", file=sys.stderr, flush=True)
            os._exit(1)  # at once: Hypothesis would go on to look for a smaller file
        told["files"] += 1
        told["longest_s"] = max(told["longest_s"], time.monotonic() - begun)
        told["most_MiB"] = used / 1024

    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        read_broken()
    print(json.dumps(told))


if __name__ == "__main__":
    MODELS["mobilenet"] = no_stages
    warnings.simplefilter("error")
    main(READERS[sys.argv[1]], float(sys.argv[2]), Path(sys.argv[3]))
