"""What the data sets have in common before they are decoded."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from gpwjax.deep_pictures import FULL_RANGE, Range


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set whose images can be read one by one.

    Attributes:
      name: for file names and messages.
      digest: changes when the images do.
      classes: names of the classes.
      splits: "train", "val", "test", or "all" for one pool -> the images' numbers.
      size: height and width of the images, pixels, where all are such squares.
      pad: whether images that are no squares get black bars; else their middle is cut.
      resize: how larger images are shrunk, "bilinear" or "nearest".
      values: those of 16-bit images that are black and white.
      skipped: (what, why) of what is left out besides unreadable images.
      photographs: gives (N,) the photograph that each image is from, where several are
        from one.
      read: number, and the values of 16-bit images that are black and white, if not 0
        and 65535 -> image (H, W, 3) uint8 and label; raises UnreadableImageError.
      describe: number -> what to call the image in messages.
      file: number -> the image's file, where each has one.
      place: the folder or table that it was read from, absolute, where there is one.
    """

    name: str
    digest: str
    classes: tuple[str, ...]
    splits: Mapping[str, range]
    size: int | None
    read: Callable[..., tuple[np.ndarray, int]]
    describe: Callable[[int], str] = str
    file: Callable[[int], Path] | None = None
    place: Path | None = None
    pad: bool = False
    resize: str = "bilinear"
    values: Range = FULL_RANGE
    skipped: Sequence[tuple[str, str]] = ()
    photographs: Callable[[], np.ndarray] | None = None

    @property
    def count(self) -> int:
        return sum(len(numbers) for numbers in self.splits.values())


def digest_of(parts: Iterable[object]) -> str:
    """A digest of the parts' texts."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(repr(part).encode())
    return sha.hexdigest()


def consecutive(counts: Mapping[str, int]) -> dict[str, range]:
    """{"train": 3, "test": 2} -> {"train": range(0, 3), "test": range(3, 5)}."""
    splits, start = {}, 0
    for name, count in counts.items():
        splits[name] = range(start, start + count)
        start += count
    return splits


def file_stamp(file: Path) -> tuple[int, int, int] | None:
    """Size, time of change and mode of a file, which tell whether to read it again;
    None where there is none. The mode, since that may make it readable."""
    try:
        status = file.stat()
    except (OSError, ValueError):  # ValueError: no file can have such a name
        return None
    return status.st_size, status.st_mtime_ns, status.st_mode
