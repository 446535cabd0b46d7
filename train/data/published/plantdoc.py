"""Cropped-PlantDoc: single leaves, cut from PlantDoc's photographs by their boxes.

Singh et al.: PlantDoc, CoDS-COMAD 2020, the set for object detection; the crops:
Schuler et al., Mendel 28(1), 2022, Section 4.
"""

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import tensorflow_datasets as tfds
from PIL import Image

from gpwjax.pictures import UnreadableImageError, read_image

from ...config import RunError
from .archives import Archive
from .builder import ArchiveBuilder

REPOSITORY = "https://github.com/pratikkayal/PlantDoc-Object-Detection-Dataset"
COLUMNS = ("filename", "class", "xmin", "ymin", "xmax", "ymax")


class Box(NamedTuple):
    """A row of a CSV file: a leaf in a photograph, pixels."""

    row: int
    file_name: str
    label: str
    corners: tuple[int, int, int, int]  # left, top, right, bottom


class CroppedPlantdoc(ArchiveBuilder, skip_registration=True):
    """Features image, label, file_name and photograph: the SHA-256 of the photograph's
    file, by which crops of one photograph are known, whatever its name."""

    VERSION = tfds.core.Version("1.0.0")
    ARCHIVES = (
        # The publisher changes it now and then, and gives no digest.
        Archive("plantdoc.zip", f"{REPOSITORY}/archive/refs/heads/master.zip", None),
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return self.make_info(
            REPOSITORY,
            {
                "image": tfds.features.Image(encoding_format="png"),
                "label": tfds.features.ClassLabel(),
                "file_name": tfds.features.Text(),
                "photograph": tfds.features.Text(),
            },
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        boxes = {
            split: read_boxes(self.find(f"{split}_labels.csv"))
            for split in ("train", "test")
        }
        classes = {box.label for of_split in boxes.values() for box in of_split}
        self.info.features["label"].names = sorted(classes)
        return {
            split: self.counted(split, self._generate_examples(split, of_split))
            for split, of_split in boxes.items()
        }

    def _generate_examples(
        self, split: str, boxes: list[Box]
    ) -> Iterator[tuple[str, dict]]:
        pictures = pictures_by_name(self.find(split.upper()))
        by_file: dict[str, list[Box]] = {}
        for box in boxes:
            by_file.setdefault(box.file_name, []).append(box)
        for file_name, of_file in by_file.items():
            file = pictures.get(file_name) or pictures.get(unquote(file_name))
            try:
                if file is None:
                    raise UnreadableImageError("the archive does not hold the picture")
                # The boxes know of no EXIF rotation.
                photograph = Image.fromarray(read_image(file, turn=False))
            except UnreadableImageError as error:
                self.skipped += [(name_of(split, box), str(error)) for box in of_file]
                continue
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            for box in of_file:
                crop = cut(photograph, box)
                if crop is None:
                    corners = ", ".join(map(str, box.corners))
                    reason = f"nothing of the picture lies in the box {corners}"
                    self.skipped.append((name_of(split, box), reason))
                    continue
                yield (
                    f"{split} {box.row}",
                    {
                        "image": crop,
                        "label": box.label,
                        "file_name": file_name,
                        "photograph": digest,
                    },
                )


def name_of(split: str, box: Box) -> str:
    """What to call a box in messages."""
    return f"{split}_labels.csv line {box.row}: {box.file_name}"


def pictures_by_name(folder: Path) -> dict[str, Path]:
    """The files of a folder by name, and by the name without %20 and the like."""
    files = sorted(folder.iterdir())
    plain = {unquote(file.name): file for file in files}
    return plain | {file.name: file for file in files}


def read_boxes(file: Path) -> list[Box]:
    """The rows of a CSV file of boxes. Its widths and heights are not always right, and
    not needed.

    Raises:
      RunError: it is no CSV file in UTF-8, or has other columns, or a row has no class
        or a box that is not four numbers.
    """
    with file.open(newline="", encoding="utf-8-sig") as stream:
        try:
            rows = csv.DictReader(stream)
            missing = set(COLUMNS) - set(rows.fieldnames or ())
            if missing:
                missing = ", ".join(sorted(missing))
                raise RunError(f"{file.name} has no column {missing}")
            return [read_box(row, file.name, rows.line_num) for row in rows]
        except (UnicodeDecodeError, csv.Error) as error:
            raise RunError(f"{file.name} is no CSV file in UTF-8: {error}") from error


def read_box(row: dict[str, str | None], file_name: str, number: int) -> Box:
    """A row of a CSV file; raises RunError where it is none."""
    name, label, *corners = (row[column] or "" for column in COLUMNS)
    label = " ".join(label.split())  # TFDS keeps the names in lines
    if not label:
        raise RunError(f"{file_name} line {number} has no class")
    try:
        left, top, right, bottom = (round(float(c)) for c in corners)
    except (ValueError, OverflowError) as error:
        raise RunError(
            f"{file_name} line {number}: a box must be four numbers, got "
            f"{', '.join(corners)}"
        ) from error
    return Box(number, name.strip(), label, (left, top, right, bottom))


def cut(photograph: Image.Image, box: Box) -> io.BytesIO | None:
    """What lies in a box, as PNG; None where that is not a pixel."""
    left, top, right, bottom = box.corners
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, photograph.width), min(bottom, photograph.height)
    if left >= right or top >= bottom:
        return None
    stream = io.BytesIO()
    # Quick to write: the set is decoded once.
    photograph.crop((left, top, right, bottom)).save(stream, "png", compress_level=1)
    stream.seek(0)
    return stream
