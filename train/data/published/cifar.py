"""CIFAR-10 and CIFAR-100 from their binary archives, as TFDS has them.

Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from ...config import RunError
from .archives import Archive
from .builder import ArchiveBuilder

SIZE = 32
URL = "https://www.cs.toronto.edu/~kriz"


class Cifar(ArchiveBuilder, skip_registration=True):
    """What both sets share."""

    VERSION = tfds.core.Version("3.0.2")
    CLASSES: dict[str, tuple[int, str]]  # label -> number of classes, file of names
    FILES: dict[str, tuple[str, ...]]  # of each split, in their order

    def _info(self) -> tfds.core.DatasetInfo:
        labels = {
            label: tfds.features.ClassLabel(num_classes=count)
            for label, (count, _) in self.CLASSES.items()
        }
        image = tfds.features.Image(shape=(SIZE, SIZE, 3), encoding_format="png")
        return self.make_info(
            f"{URL}/cifar.html", {"id": tfds.features.Text(), "image": image, **labels}
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        for label, (count, file) in self.CLASSES.items():
            names = self.find(file).read_text("utf-8", errors="replace").split()
            if len(set(names)) != count:
                raise RunError(f"{file} must name {count} classes, got {names}")
            self.info.features[label].names = names
        return {
            split: self.counted(split, self._generate_examples(split, files))
            for split, files in self.FILES.items()
        }

    def _generate_examples(
        self, split: str, files: tuple[str, ...]
    ) -> Iterator[tuple[int, dict]]:
        number = 0
        counts = [count for count, _ in self.CLASSES.values()]
        for file in files:
            for labels, pixels in read_records(self.find(file), len(self.CLASSES)):
                if (labels >= counts).any():
                    raise RunError(f"{file} has labels {labels}, of {counts} classes")
                image = io.BytesIO()
                Image.fromarray(pixels).save(image, "png")
                image.seek(0)
                yield (
                    number,
                    {
                        "id": f"{split}_{number:05d}",
                        "image": image,
                        **dict(zip(self.CLASSES, map(int, labels), strict=True)),
                    },
                )
                number += 1


class Cifar10(Cifar, skip_registration=True):
    """CIFAR-10: features id, image, label."""

    CLASSES = {"label": (10, "batches.meta.txt")}
    FILES = {
        "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test": ("test_batch.bin",),
    }
    ARCHIVES = (
        Archive(
            "cifar-10-binary.tar.gz",
            f"{URL}/cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    )


class Cifar100(Cifar, skip_registration=True):
    """CIFAR-100: features id, image, label, coarse_label."""

    # In the order of the labels in a record.
    CLASSES = {
        "coarse_label": (20, "coarse_label_names.txt"),
        "label": (100, "fine_label_names.txt"),
    }
    FILES = {"train": ("train.bin",), "test": ("test.bin",)}
    ARCHIVES = (
        Archive(
            "cifar-100-binary.tar.gz",
            f"{URL}/cifar-100-binary.tar.gz",
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    )


def read_records(file: Path, labels: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Labels (labels,) and images (32, 32, 3), uint8, of a binary file.

    A record is the labels, a byte each, and the planes of red, green and blue.
    """
    length = labels + 3 * SIZE * SIZE
    content = np.frombuffer(file.read_bytes(), np.uint8)
    if len(content) % length:
        raise RunError(f"{file.name} must be records of {length} bytes, and is not")
    for record in content.reshape(-1, length):
        planes = record[labels:].reshape(3, SIZE, SIZE)
        yield record[:labels], np.ascontiguousarray(planes.transpose(1, 2, 0))
