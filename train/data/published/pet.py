"""Oxford-IIIT Pet, 37 breeds, from its two archives, as TFDS has it.

Parkhi et al.: Cats and Dogs, CVPR 2012.
"""

import io
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from gpwjax.pictures import UnreadableImageError, read_image

from ...config import RunError
from .archives import Archive
from .builder import ArchiveBuilder

URL = "https://thor.robots.ox.ac.uk/~vgg/data/pets"
# In the order of the class numbers in the lists.
BREEDS = (
    "Abyssinian",
    "american_bulldog",
    "american_pit_bull_terrier",
    "basset_hound",
    "beagle",
    "Bengal",
    "Birman",
    "Bombay",
    "boxer",
    "British_Shorthair",
    "chihuahua",
    "Egyptian_Mau",
    "english_cocker_spaniel",
    "english_setter",
    "german_shorthaired",
    "great_pyrenees",
    "havanese",
    "japanese_chin",
    "keeshond",
    "leonberger",
    "Maine_Coon",
    "miniature_pinscher",
    "newfoundland",
    "Persian",
    "pomeranian",
    "pug",
    "Ragdoll",
    "Russian_Blue",
    "saint_bernard",
    "samoyed",
    "scottish_terrier",
    "shiba_inu",
    "Siamese",
    "Sphynx",
    "staffordshire_bull_terrier",
    "wheaten_terrier",
    "yorkshire_terrier",
)
LISTS = {"train": "trainval.txt", "test": "test.txt"}


class OxfordIiitPet(ArchiveBuilder, skip_registration=True):
    """Features image, label, species, file_name, segmentation_mask and head_bbox, of
    zeros where the archive has none."""

    name = "oxford_iiit_pet"
    VERSION = tfds.core.Version("4.0.0")
    ARCHIVES = (
        Archive(
            "images.tar.gz",
            f"{URL}/images.tar.gz",
            "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
        ),
        Archive(
            "annotations.tar.gz",
            f"{URL}/annotations.tar.gz",
            "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
        ),
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return self.make_info(
            "https://www.robots.ox.ac.uk/~vgg/data/pets/",
            {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=BREEDS),
                "species": tfds.features.ClassLabel(names=["Cat", "Dog"]),
                "file_name": tfds.features.Text(),
                "segmentation_mask": tfds.features.Image(
                    shape=(None, None, 1), use_colormap=True
                ),
                "head_bbox": tfds.features.BBoxFeature(),
            },
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {
            split: self.counted(split, self._generate_examples(file))
            for split, file in LISTS.items()
        }

    def _generate_examples(self, list_file: str) -> Iterator[tuple[str, dict]]:
        annotations, images = self.find("annotations"), self.find("images")
        for name, label, species, _ in read_list(annotations / list_file):
            file_name = f"{name}.jpg"
            try:
                image, size = read_jpeg(images / file_name)
            except UnreadableImageError as error:
                self.skipped.append((f"images/{file_name}", str(error)))
                continue
            yield (
                file_name,
                {
                    "image": io.BytesIO(image),
                    "label": int(label) - 1,
                    "species": int(species) - 1,
                    "file_name": file_name,
                    "segmentation_mask": read_mask(
                        annotations / "trimaps" / f"{name}.png", size
                    ),
                    "head_bbox": read_head(annotations / "xmls" / f"{name}.xml"),
                },
            )


def read_list(file: Path) -> list[list[str]]:
    """The lines of a list: name, class, species and breed; numbers from 1.

    Raises:
      RunError: there is no such file, or it is no such list.
    """
    if not file.is_file():
        raise RunError(f"the archives hold no annotations/{file.name}")
    text = file.read_text("utf-8", errors="replace")
    lines = [line.split() for line in text.splitlines()]
    lines = [line for line in lines if line and not line[0].startswith("#")]
    for line in lines:
        if not is_entry(line):
            raise RunError(f"annotations/{file.name} has the line {' '.join(line)!r}")
    counts = Counter(name for name, *_ in lines)
    for name, count in counts.items():
        if count > 1:
            raise RunError(f"annotations/{file.name} has {name} {count} times")
    return lines


def is_entry(line: list[str]) -> bool:
    """Whether this may be a line of a list."""
    if len(line) != 4 or "/" in line[0]:
        return False
    breeds, species = map(str, range(1, len(BREEDS) + 1)), ("1", "2")
    return line[1] in breeds and line[2] in species


def read_jpeg(file: Path) -> tuple[bytes, tuple[int, int]]:
    """A picture as a JPEG in RGB, and its width and height.

    A dozen of the files named .jpg are of other formats: those are encoded anew.
    """
    if not file.is_file():
        raise UnreadableImageError("the archive does not hold it")
    content = file.read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:  # reads the header only
            if image.format == "JPEG" and image.mode == "RGB":
                return content, image.size
    except Exception as error:  # Pillow raises many kinds
        raise UnreadableImageError("it is no picture") from error
    image = Image.fromarray(read_image(file))
    stream = io.BytesIO()
    image.save(stream, "jpeg", quality=95, subsampling=0)
    return stream.getvalue(), image.size


def read_mask(file: Path, size: tuple[int, int]) -> io.BytesIO:
    """The trimap of a picture as PNG, or zeros."""
    if file.is_file():
        return io.BytesIO(file.read_bytes())
    stream = io.BytesIO()
    Image.new("L", size).save(stream, "png")
    stream.seek(0)
    return stream


def read_head(file: Path) -> tfds.features.BBox:
    """The box around the animal's head, in [0, 1], or zeros.

    Raises:
      RunError: the file is damaged.
    """
    if not file.is_file():
        return tfds.features.BBox(0.0, 0.0, 0.0, 0.0)
    try:
        root = ElementTree.parse(file).getroot()
        sides = {
            f"{axis}{end}": float(root.findtext(f"object/bndbox/{axis}{end}"))
            / float(root.findtext(f"size/{length}"))
            for axis, length in (("y", "height"), ("x", "width"))
            for end in ("min", "max")
        }
    except (ElementTree.ParseError, TypeError, ValueError, ZeroDivisionError) as error:
        raise RunError(f"annotations/xmls/{file.name} names no box: {error}") from error
    if not all(0 <= side <= 1 for side in sides.values()):
        raise RunError(f"annotations/xmls/{file.name} has a box outside of the picture")
    return tfds.features.BBox(**sides)
