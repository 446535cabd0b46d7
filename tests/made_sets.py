"""Small archives in the formats in which the data sets are published."""

import csv
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from train.data import prepared
from train.data.prepare import prepare
from train.data.source import Source

TARS = {".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}
BOX_COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")


def pack(file: Path, content: Mapping[str, bytes]) -> Path:
    """Writes an archive of the kind that the ending of its name says."""
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in content.items():
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        return file
    members = [(tarfile.TarInfo(name), data) for name, data in content.items()]
    return pack_members(file, members)


def pack_members(file: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """Writes a tar archive."""
    with tarfile.open(file, TARS["".join(file.suffixes[-2:])]) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file


def draw(height: int, width: int, seed: int) -> np.ndarray:
    """An image (height, width, 3) uint8 of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encode(pixels: np.ndarray, file_format: str = "PNG", mode: str = "RGB") -> bytes:
    """The bytes of an image file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, file_format)
    return stream.getvalue()


def csv_of(rows: Iterable[Sequence[object]]) -> bytes:
    """A table of boxes as PlantDoc has it."""
    stream = io.StringIO()
    csv.writer(stream).writerows([BOX_COLUMNS, *rows])
    return stream.getvalue().encode()


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def prepare_made(name: str, data_dir: Path, archive: Path) -> Source:
    """Prepares a set from an archive, or a folder with its archives, whatever their
    digests."""
    files = archive.iterdir() if archive.is_dir() else [archive]
    prepare(name, data_dir, archive, [digest_of(file) for file in files])
    return prepared.source(name, data_dir)
