"""What the builders of data sets have in common."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from ...config import RunError
from ...process.progress import progress_bar
from .archives import Archive


class Info(tfds.core.DatasetInfo):
    """A description that is not looked for on TFDS' server."""

    def initialize_from_bucket(self) -> None:
        """Does nothing; else it would leave a temporary folder."""


class ArchiveBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Builds a TFDS data set from unpacked archives, without TensorFlow.

    Attributes:
      unpacked: the folder of the unpacked archives.
      skipped: (what, why) of all that was left out; in the prepared set's metadata.
    """

    ARCHIVES: ClassVar[tuple[Archive, ...]]

    def __init__(self, *, unpacked: Path | None = None, **kwargs: Any):
        self.unpacked = unpacked
        self.skipped: list[tuple[str, str]] = []
        super().__init__(**kwargs)

    def make_info(
        self, homepage: str, features: dict[str, Any]
    ) -> tfds.core.DatasetInfo:
        """The description of a set of labelled images."""
        return Info(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage=homepage,
            metadata=tfds.core.MetadataDict(skipped=self.skipped),
        )

    def counted(self, split: str, examples: Iterable) -> Iterator:
        """The examples of a split, with a progress bar.

        Raises:
          RunError: there is none.
        """
        count, before = 0, len(self.skipped)
        with progress_bar(f"preparing {self.name}, {split}", 0) as bar:
            for example in examples:
                yield example
                count += 1
                bar.update()
        if not count:
            of_split = self.skipped[before:]
            why = "".join(f": {what}: {why}" for what, why in of_split[:1])
            raise RunError(f"the archive of {self.name} holds no {split} image{why}")

    def find(self, name: str) -> Path:
        """A file or folder at the top of the archive, or in a folder at its top.

        Raises:
          RunError: it is not there.
        """
        for pattern in (name, f"*/{name}"):
            if found := sorted(self.unpacked.glob(pattern)):
                return found[0]
        raise RunError(f"the archive of {self.name} holds no {name}")
