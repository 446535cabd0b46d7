"""Data sets that tensorflow-datasets has prepared as ArrayRecord files."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gpwjax.deep_pictures import FULL_RANGE, Range
from gpwjax.pictures import read_image

from ..config import RunError
from .prepare import INCOMPLETE
from .source import Source, consecutive, digest_of

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

SPLITS = {"train": "train", "validation": "val", "test": "test"}
PADDED = ("oxford_iiit_pet",)  # to a square, as the paper did (Section 4)


def is_prepared(name: str, data_dir: Path) -> bool:
    """Whether `data_dir` holds the data set, in any version and file format."""
    return bool(versions(data_dir / name))


def list_prepared(data_dir: Path) -> list[str]:
    """Names of the data sets in `data_dir`."""
    if not data_dir.is_dir():
        return []
    names = [folder.name for folder in data_dir.iterdir() if folder.is_dir()]
    return sorted(name for name in names if is_prepared(name, data_dir))


def source(name: str, data_dir: Path) -> Source:
    """The newest prepared version of a data set with features image and label.

    Raises:
      RunError: it is in another file format, or is no set of labelled images.
    """
    import tensorflow_datasets as tfds

    folder = newest_version(data_dir / name)
    builder = checked_builder(folder)
    present = [split for split in SPLITS if split in builder.info.splits]
    # Not decoded by TFDS, which stops at the first broken image.
    decoders = {"image": tfds.decode.SkipDecoding()}
    examples = {
        split: builder.as_data_source(split, decoders=decoders) for split in present
    }
    splits = consecutive({SPLITS[split]: len(examples[split]) for split in present})

    def read(number: int, values: Range = FULL_RANGE) -> tuple[np.ndarray, int]:
        split = next(split for split in present if number in splits[SPLITS[split]])
        example = examples[split][number - splits[SPLITS[split]].start]
        image = read_image(io.BytesIO(example["image"]), values=values)
        return image, int(example["label"])

    def photographs() -> np.ndarray:
        return np.array(
            [
                example["photograph"].decode()
                for split in present
                for example in examples[split]
            ]
        )

    features = builder.info.features
    height, width, _ = features["image"].shape
    files = sorted(folder.iterdir())
    return Source(
        name=name,
        digest=digest_of(
            (f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files
        ),
        classes=tuple(features["label"].names),
        splits=splits,
        size=height if height == width else None,
        read=read,
        pad=name in PADDED,
        skipped=read_skipped(folder),
        photographs=photographs if "photograph" in features else None,
    )


def checked_builder(folder: Path) -> "tfds.core.DatasetBuilder":
    """Reads a version of a data set.

    Raises:
      RunError: as `source`.
    """
    import tensorflow_datasets as tfds

    info = json.loads((folder / "dataset_info.json").read_text())
    if info.get("fileFormat") != "array_record":
        raise RunError(
            f"{folder} is prepared as {info.get('fileFormat', 'tfrecord')}: prepare it "
            'again with tfds\' file_format="array_record"'
        )
    builder = tfds.builder_from_directory(folder)
    features = builder.info.features
    if not {"image", "label"} <= set(features):
        raise RunError(
            f"{folder} must have the features image and label, it has "
            f"{', '.join(features)}"
        )
    if "train" not in builder.info.splits:
        raise RunError(f"{folder} has no split train")
    return builder


def read_skipped(folder: Path) -> list[tuple[str, str]]:
    """(what, why) of all that was left out when we prepared the set."""
    metadata = folder / "metadata.json"
    if not metadata.is_file():
        return []
    return [tuple(e) for e in json.loads(metadata.read_text()).get("skipped", [])]


def newest_version(folder: Path) -> Path:
    """The folder of the highest version of a data set."""

    def number(version: Path) -> list[int]:
        return [int(part) if part.isdigit() else -1 for part in version.name.split(".")]

    return max(versions(folder), key=number)


def versions(folder: Path) -> list[Path]:
    """The folders of a data set's versions; not those that are being prepared."""
    found = [info.parent for info in folder.glob("**/dataset_info.json")]
    return [
        version
        for version in found
        if not any(
            part.startswith(INCOMPLETE) for part in version.relative_to(folder).parts
        )
    ]
