"""Images decoded once into an array file, and memory-mapped from then on."""

import dataclasses
import itertools
import json
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import platformdirs

from gpwjax.inference import fit
from gpwjax.pictures import UnreadableImageError
from train.config import RunError
from train.data.source import Source, digest_of
from train.progress import progress_bar

log = logging.getLogger(__name__)

FORMAT = 2  # part of the name: change it when the files would look different
CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class Arrays:
    """A decoded data set: images (N, size, size, 3) uint8, a memory map; labels (N,)
    int32, -1 for an unreadable image; (file, reason) of each of those."""

    images: np.ndarray
    labels: np.ndarray
    skipped: list[tuple[str, str]]


def cached_arrays(source: Source, image_size: int) -> Arrays:
    """The images of a source at the size at which they are stored.

    That is `image_size`, or the images' own where all have one and it is smaller: those
    are enlarged on the device, in the step.

    Raises:
      RunError: the cache folder cannot be used.
    """
    size = min(image_size, source.size or image_size)
    parts = [FORMAT, source.digest, source.classes, source.splits, source.pad]
    if source.resize != "bilinear":
        parts.append(source.resize)
    digest = digest_of(parts)[:16]
    folder = cache_dir() / f"{source.name}-{size}-{digest}"
    try:
        if not folder.is_dir():
            decode(source, size, folder)
        about = json.loads((folder / "about.json").read_text())
        return Arrays(
            images=np.load(folder / "images.npy", mmap_mode="r"),
            labels=np.load(folder / "labels.npy"),
            skipped=[tuple(entry) for entry in about["skipped"]],
        )
    except OSError as error:
        raise RunError(
            f"cannot use the cache of images {folder}: {error}. $XDG_CACHE_HOME may "
            "name another place"
        ) from error


def cache_dir() -> Path:
    """Where the array files are."""
    return platformdirs.user_cache_path("gpwjax") / "arrays"


def decode(source: Source, size: int, folder: Path) -> None:
    """Writes the array files of a source; `folder` exists only once they are whole."""
    log.info("decoding the %d images of %s, once", source.count, source.name)
    unfinished = folder.with_name(f"{folder.name}.unfinished-{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        write_arrays(source, size, unfinished)
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was quicker
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_arrays(source: Source, size: int, folder: Path) -> None:
    images = np.lib.format.open_memmap(
        folder / "images.npy", "w+", np.uint8, (source.count, size, size, 3)
    )
    labels = np.full(source.count, -1, np.int32)
    skipped = []

    def read(number: int) -> tuple[np.ndarray, int] | str:
        try:
            image, label = source.read(number)
            return to_size(image, size, source.pad, source.resize), label
        except UnreadableImageError as error:
            return str(error)

    numbers = iter(range(source.count))
    with (
        ThreadPoolExecutor() as pool,
        progress_bar(f"decoding {source.name}", source.count) as bar,
    ):
        # In chunks, since map() reads ahead without end.
        while chunk := list(itertools.islice(numbers, CHUNK)):
            for number, result in zip(chunk, pool.map(read, chunk), strict=True):
                if isinstance(result, str):
                    skipped.append((source.describe(number), result))
                else:
                    images[number], labels[number] = result
                bar.update()
    images.flush()
    np.save(folder / "labels.npy", labels)
    (folder / "about.json").write_text(json.dumps({"skipped": skipped}))


def to_size(image: np.ndarray, size: int, pad: bool, resize: str) -> np.ndarray:
    """An image (H, W, 3) uint8 as (size, size, 3) uint8, as `Classifier` does it."""
    if image.shape[:2] == (size, size):
        return image
    return np.round(fit(image, size, pad, resize) * 255).astype(np.uint8)
