"""Images decoded once into an array file, and memory-mapped from then on."""

import contextlib
import dataclasses
import itertools
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gpwjax import deep_pictures
from gpwjax.deep_pictures import FULL_RANGE
from gpwjax.inference import fit
from gpwjax.pictures import UnreadableImageError
from gpwjax.places import cache_folder

from ..config import RunError
from ..process.progress import progress_bar
from .source import Source, digest_of

log = logging.getLogger(__name__)

FORMAT = 3  # part of the name: change it when the files would look different
CHUNK = 1024
MEBIBYTE = 2**20


class DamagedCacheError(Exception):
    """A folder of the cache does not hold what was written."""


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
    if source.values != FULL_RANGE:
        parts.append(source.values)
    digest = digest_of(parts)[:16]
    if (place := cache_dir()) is None:
        return arrays_of_this_run(source, size)
    folder = place / f"{source.name}-{size}-{digest}"
    try:
        if folder.is_dir():
            try:
                return read_arrays(source, size, folder)
            except DamagedCacheError as error:
                log.warning("the cache of images %s %s", folder, error)
                remove(folder)
        decode(source, size, folder)
        return read_arrays(source, size, folder)
    except OSError as error:
        raise RunError(
            f"cannot use the cache of images {folder}: {error}. $XDG_CACHE_HOME may "
            "name another place"
        ) from error


def arrays_of_this_run(source: Source, size: int) -> Arrays:
    """As `cached_arrays`, where there can be no cache folder."""
    log.warning(
        "there is no cache folder, since there is no home or it cannot be written: "
        "images are decoded for this run alone. $XDG_CACHE_HOME may name one"
    )
    # The files are gone at once, but for the mapping that the arrays are. Windows
    # keeps them.
    with tempfile.TemporaryDirectory(
        prefix="gpwjax-", ignore_cleanup_errors=True
    ) as temporary:
        folder = Path(temporary, "arrays")
        try:
            decode(source, size, folder)
        except OSError as error:
            raise RunError(f"cannot decode images into {folder}: {error}") from error
        return read_arrays(source, size, folder)


def read_arrays(source: Source, size: int, folder: Path) -> Arrays:
    """The array files of a source.

    Raises:
      DamagedCacheError: one is missing, cut or holds something else: the power failed
        before the disk had it, or somebody removed it.
    """
    images, labels = folder / "images.npy", folder / "labels.npy"
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        skipped = [(file, reason) for file, reason in about["skipped"]]
        warnings = [str(text) for text in about.get("warnings", ())]
        arrays = Arrays(np.load(images, mmap_mode="r"), np.load(labels), skipped)
        forms = [(a.dtype.name, *a.shape) for a in (arrays.images, arrays.labels)]
    except Exception as error:  # NumPy raises many kinds
        raise DamagedCacheError(f"is damaged ({error})") from error
    if forms != [("uint8", source.count, size, size, 3), ("int32", source.count)]:
        raise DamagedCacheError(f"is damaged (it holds arrays of {forms})")
    if not np.isin(arrays.labels, range(-1, len(source.classes))).all():
        raise DamagedCacheError("is damaged (it holds labels of no class)")
    for warning in warnings:
        log.warning(warning)
    return arrays


def cache_dir() -> Path | None:
    """Where the array files are; None where there can be no cache folder."""
    folder = cache_folder()
    return folder and folder / "arrays"


def decode(source: Source, size: int, folder: Path) -> None:
    """Writes the array files of a source; `folder` exists only once they are whole."""
    log.info("decoding the %d images of %s, once", source.count, source.name)
    unfinished = aside(folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        write_arrays(source, size, unfinished)
        # On the disk before the folder has its name, should the power fail.
        for file in (*unfinished.iterdir(), unfinished):
            sync(file)
        try:
            unfinished.rename(folder)
            sync(folder.parent)
        except OSError:
            if not folder.is_dir():  # else another process was quicker
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def aside(folder: Path) -> Path:
    """Where this process prepares a folder of the cache, or removes it."""
    return folder.with_name(f"{folder.name}.unfinished-{os.getpid()}")


def remove(folder: Path) -> None:
    """Removes a folder of the cache, of which nobody sees a half."""
    folder.rename(aside(folder))
    shutil.rmtree(aside(folder))


def write_arrays(source: Source, size: int, folder: Path) -> None:
    shape = (source.count, size, size, 3)
    images = map_new(folder / "images.npy", shape)
    labels = np.full(source.count, -1, np.int32)
    skipped = []

    def read(number: int) -> tuple[np.ndarray, int] | str:
        try:
            image, label = source.read(number, source.values)
            return to_size(image, size, source.pad, source.resize), label
        except UnreadableImageError as error:
            return str(error)

    numbers = iter(range(source.count))
    with (
        warnings_of_pictures() as warnings,
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
    about = {"skipped": skipped, "warnings": warnings}
    (folder / "about.json").write_text(json.dumps(about))


@contextlib.contextmanager
def warnings_of_pictures() -> Iterator[list[str]]:
    """Collects what is said of pictures while they are decoded, to be said in each run
    that uses them."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    deep_pictures.warned_of.clear()
    deep_pictures.log.addHandler(handler)
    deep_pictures.log.propagate = False
    try:
        yield said
    finally:
        deep_pictures.log.propagate = True
        deep_pictures.log.removeHandler(handler)


def map_new(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A new array file (uint8), mapped, that has all its room on the disk: else a disk
    that is full would end the process when a page is written, without a word.

    Raises:
      OSError: there is not so much room.
    """
    array = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    with file.open("r+b") as stream:
        size = file.stat().st_size
        try:
            allocate(stream, array.offset, size)
        except OSError as error:
            reason = f"{error.strerror}: the images take {size / 1e6:,.0f} MB"
            raise OSError(error.errno, reason) from error
    return array


def allocate(stream: BinaryIO, begin: int, end: int) -> None:
    """Gives the bytes of a file that are still zeros their room on the disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), begin, end - begin)
        return
    stream.seek(begin)
    for start in range(begin, end, MEBIBYTE):  # macOS and Windows lack it
        stream.write(bytes(min(MEBIBYTE, end - start)))
    stream.flush()


def sync(path: Path) -> None:
    """Has the disk keep a file or folder whatever happens."""
    if sys.platform == "win32" and path.is_dir():
        return  # Windows opens none
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_size(image: np.ndarray, size: int, pad: bool, resize: str) -> np.ndarray:
    """An image (H, W, 3) uint8 as (size, size, 3) uint8, as `Classifier` does it."""
    if image.shape[:2] == (size, size):
        return image
    return np.round(fit(image, size, pad, resize) * 255).astype(np.uint8)
