"""Prepares the data sets that we have builders for: archives -> ArrayRecord files."""

import contextlib
import io
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import RunError
from ..process.locks import FolderInUseError, exclusive
from .published.archives import check_digest, find_archives, remove, unpack

if TYPE_CHECKING:
    from .published.builder import ArchiveBuilder

log = logging.getLogger(__name__)

NAMES = ("cifar10", "cifar100", "cropped_plantdoc", "oxford_iiit_pet")
INCOMPLETE = "incomplete."  # how folders begin that TFDS or we have not finished
DIGESTS = "archives.json"  # beside the versions of a set: file -> SHA-256


def builder_class(name: str) -> type["ArchiveBuilder"]:
    """The builder of one of NAMES. Imported here, since TFDS takes a second."""
    from .published.cifar import Cifar10, Cifar100
    from .published.pet import OxfordIiitPet
    from .published.plantdoc import CroppedPlantdoc

    builders = (Cifar10, Cifar100, CroppedPlantdoc, OxfordIiitPet)
    return {builder.name: builder for builder in builders}[name]


def prepare(
    name: str, data_dir: Path, given: Path | None = None, accepted: Sequence[str] = ()
) -> Path:
    """Prepares a data set; it appears in `data_dir` only once it is whole.

    Args:
      name: one of NAMES.
      data_dir: the folder of prepared sets.
      given: the archive, or the folder with the archives; None: they are downloaded.
      accepted: digests of archives other than the published ones.

    Returns:
      The folder of the prepared version.

    Raises:
      RunError: an archive cannot be had or is refused, or another process prepares it.
    """
    builder_type = builder_class(name)
    folder = data_dir / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            # Of preparations that were killed: no living one has the lock.
            for unfinished in folder.glob(f"{INCOMPLETE}*"):
                remove(unfinished)
            downloads = data_dir / "downloads" / name
            files = find_archives(builder_type.ARCHIVES, given, downloads)
            try:
                digests = check_archives(builder_type, files, accepted, folder)
                with tempfile.TemporaryDirectory(
                    prefix=INCOMPLETE, dir=folder
                ) as unpacked:
                    for file in files:
                        unpack(file, Path(unpacked))
                    version = build(builder_type, data_dir, Path(unpacked))
                    # Only now that they are known to be digests of whole archives.
                    record(digests, folder, Path(unpacked))
            except RunError:
                remove(downloads)  # else the same would be refused each time
                raise
            remove(downloads)  # not what the user gave
            return version
    except OSError as error:
        raise RunError(f"cannot prepare {name} in {data_dir}: {error}") from error


def build(
    builder_type: type["ArchiveBuilder"],
    data_dir: Path,
    unpacked: Path,
) -> Path:
    """Writes the ArrayRecord files of a set from its unpacked archives."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()  # we have our own
    builder = builder_type(data_dir=str(data_dir), unpacked=unpacked)
    log.info("preparing %s in %s", builder.name, builder.data_dir)
    with contextlib.redirect_stdout(io.StringIO()):  # it says what we say
        builder.download_and_prepare(
            download_dir=str(unpacked),  # TFDS makes a folder there
            file_format="array_record",
        )
    for split, info in builder.info.splits.items():
        log.info("%s: %s %s images", builder.name, f"{info.num_examples:,}", split)
    if builder.skipped:
        what, why = builder.skipped[0]
        log.warning(
            "%s: left out %d, listed in %s; the first: %s: %s",
            builder.name,
            len(builder.skipped),
            Path(builder.data_dir) / "metadata.json",
            what,
            why,
        )
    return Path(builder.data_dir)


def check_archives(
    builder_type: type["ArchiveBuilder"],
    files: Sequence[Path],
    accepted: Sequence[str],
    folder: Path,
) -> dict[str, str]:
    """Checks the digests of the archives.

    Returns:
      File -> digest of those whose digest nobody publishes, to be recorded.

    Raises:
      RunError: one is neither the published nor the recorded nor an accepted one.
    """
    earlier = folder / DIGESTS
    recorded = json.loads(earlier.read_text()) if earlier.is_file() else {}
    for archive, file in zip(builder_type.ARCHIVES, files, strict=True):
        expected = archive.sha256 or recorded.get(archive.file)
        digest = check_digest(file, expected, accepted)
        if archive.sha256 is None:
            recorded[archive.file] = digest
    return recorded


def record(digests: dict[str, str], folder: Path, temporary: Path) -> None:
    """Writes digests beside the versions of a set, by way of another folder."""
    if digests:
        unfinished = temporary / DIGESTS
        unfinished.write_text(json.dumps(digests, indent=2))
        unfinished.replace(folder / DIGESTS)
    for file, digest in digests.items():
        log.info("SHA-256 of %s: %s, recorded in %s", file, digest, folder / DIGESTS)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from preparing in a folder; a kill ends it, too.

    Raises:
      RunError: another process does.
    """
    try:
        with exclusive(folder):
            yield
    except FolderInUseError as error:
        raise RunError(f"{error} is preparing {folder}") from error
