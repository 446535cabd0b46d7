"""The archives of data sets: found or downloaded, checked, unpacked.

Nothing of an archive is unpacked before its digest is known to be right.
"""

import dataclasses
import hashlib
import http.client
import lzma
import shutil
import stat
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ...config import RunError
from ...process.progress import progress_bar

CONNECT_SECONDS = 8.0
CHUNK = 1 << 20
SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
MAX_UNPACKED = 50 * 10**9  # bytes; no data set here has a tenth of it
# What the standard library raises of an archive; RuntimeError if it is encrypted.
UNREADABLE = (
    *(OSError, EOFError, RuntimeError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


@dataclasses.dataclass(frozen=True)
class Archive:
    """An archive that somebody publishes.

    Attributes:
      file: its name.
      url: where it is published.
      sha256: its digest, None where the publisher gives none.
    """

    file: str
    url: str
    sha256: str | None


def find_archives(
    archives: Sequence[Archive], given: Path | None, downloads: Path
) -> list[Path]:
    """The files of the archives, downloaded where none are given.

    Args:
      archives: of one data set.
      given: the file, or the folder with the files, that the user has; None: none.
      downloads: the folder to download into.

    Raises:
      RunError: a file is not there, or cannot be downloaded.
    """
    if given is None:
        return [download(archive, downloads) for archive in archives]
    names = " and ".join(archive.file for archive in archives)
    if given.is_dir():
        files = [find_in_folder(given, archive) for archive in archives]
    elif len(archives) == 1:
        files = [given]
    else:
        raise RunError(f"--archive must be a folder that holds {names}, got {given}")
    for file in files:
        if not file.is_file():
            raise RunError(f"there is no {file}: --archive takes {names}")
    return files


def find_in_folder(folder: Path, archive: Archive) -> Path:
    """The archive's file in a folder, which may be packed in another way."""
    stem = archive.file.split(".")[0]
    names = [archive.file, *(f"{stem}{suffix}" for suffix in SUFFIXES)]
    files = [folder / name for name in names]
    return next((file for file in files if file.is_file()), files[0])


def check_digest(file: Path, expected: str | None, accepted: Sequence[str]) -> str:
    """The SHA-256 of a file.

    Raises:
      RunError: it is neither `expected` (None: there is none) nor among `accepted`.
    """
    digest = sha256(file)
    if expected not in (None, digest) and digest not in map(str.lower, accepted):
        raise RunError(
            f"{file} is not the archive that it should be: its SHA-256 is {digest}, "
            f"not {expected}. If you trust it, pass --archive-digest {digest}"
        )
    return digest


def sha256(file: Path) -> str:
    """The digest of a file, with a progress bar."""
    digest = hashlib.sha256()
    size = file.stat().st_size
    with (
        file.open("rb") as stream,
        progress_bar(f"checking {file.name}", size, unit="B") as bar,
    ):
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def download(archive: Archive, folder: Path) -> Path:
    """The downloaded file; goes on where an earlier download stopped.

    Raises:
      RunError: there is no network, or another error on the way.
    """
    file = folder / archive.file
    if file.is_file():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{archive.file}.unfinished"
    try:
        fetch(archive, unfinished)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise RunError(
            f"cannot download {archive.url}: {error}. Bring the file {archive.file} "
            f"(SHA-256 {archive.sha256 or 'not published'}) and pass --archive FILE, "
            "or a folder that holds it"
        ) from error
    unfinished.replace(file)
    return file


def fetch(archive: Archive, file: Path) -> None:
    """Downloads what the file has not yet; raises what the standard library does."""
    done = file.stat().st_size if file.is_file() else 0
    request = urllib.request.Request(
        archive.url, headers={"Range": f"bytes={done}-"} if done else {}
    )
    try:
        response = connect(request)
    except OSError as error:
        if not done or getattr(error.__cause__, "code", None) != 416:
            raise
        # The server has no more than that: nobody knows whether it is the same.
        file.unlink()
        fetch(archive, file)
        return
    with closing(response):
        if response.status != 206:  # the server sends all of it
            done = 0
        length = response.headers.get("Content-Length")  # None: it is not known
        total = done + int(length) if length else 0
        with (
            file.open("ab" if done else "wb") as stream,
            progress_bar(f"downloading {archive.file}", total, done, unit="B") as bar,
        ):
            while chunk := response.read(CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
    if total and file.stat().st_size != total:
        raise OSError("the connection broke off")


def connect(request: urllib.request.Request) -> Any:
    """The response to a request, or OSError after CONNECT_SECONDS at the latest.

    In a thread, since no timeout reaches the look-up of a host's name.
    """
    result: list[Any] = [TimeoutError("no answer")]

    def open_url() -> None:
        try:
            result[0] = urllib.request.urlopen(request, timeout=CONNECT_SECONDS)
        except Exception as error:
            result[0] = error

    thread = threading.Thread(target=open_url, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    response = result[0]
    if isinstance(response, urllib.error.HTTPError):
        response.close()
    if isinstance(response, Exception):
        raise OSError(str(response)) from response
    return response


@dataclasses.dataclass(frozen=True)
class Member:
    """A file or folder in an archive; `open` gives a file's bytes."""

    name: str
    kind: str  # "file", "folder" or what else it is
    open: Callable[[], BinaryIO]


def unpack(file: Path, folder: Path) -> None:
    """Unpacks a tar or zip archive into a folder.

    Raises:
      RunError: it is neither, or damaged, or would write outside of the folder, or
        holds links, devices or one name twice.
    """
    try:
        with progress_bar(f"unpacking {file.name}", 0, unit="file") as bar:
            written = 0
            for member in members(file):
                written += unpack_member(member, folder, MAX_UNPACKED - written)
                bar.update()
    except UNREADABLE as error:
        raise RunError(f"cannot unpack {file}: {error}") from error
    except ValueError as error:
        raise RunError(f"{file} is refused: {error}") from error


def members(file: Path) -> Iterator[Member]:
    """The members of an archive in their order."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                kind = "folder" if info.is_dir() else "file"
                if stat.S_ISLNK(info.external_attr >> 16):
                    kind = "link"
                yield Member(info.filename, kind, lambda i=info: archive.open(i))
        return
    if not tarfile.is_tarfile(file):
        raise tarfile.ReadError("it is no tar or zip archive, or not a whole one")
    with tarfile.open(file) as archive:
        for info in archive:
            kind = "link or device"
            if info.isfile() or info.isdir():
                kind = "file" if info.isfile() else "folder"
            yield Member(info.name, kind, lambda i=info: archive.extractfile(i))
        while archive.fileobj.read(CHUNK):  # to the end, where the check sum is
            pass


def unpack_member(member: Member, folder: Path, room: int) -> int:
    """Writes a member of an archive below a folder; its size in bytes.

    Raises:
      ValueError: the archive must not have it, or it is larger than `room`.
    """
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        raise ValueError(f"{member.name!r} lies outside of the archive")
    if member.kind == "folder":
        (folder / path).mkdir(parents=True, exist_ok=True)
        return 0
    if member.kind != "file":
        raise ValueError(f"{member.name!r} is a {member.kind}")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        stream = target.open("xb")
    except FileExistsError as error:
        raise ValueError(f"it holds {member.name!r} twice") from error
    with stream, member.open() as content:
        while chunk := content.read(CHUNK):
            room -= len(chunk)
            if room < 0:
                raise ValueError(f"it is larger than {MAX_UNPACKED} bytes")
            stream.write(chunk)
        return stream.tell()


def remove(folder: Path) -> None:
    """Removes a folder and all in it, whether it is there or not."""
    shutil.rmtree(folder, ignore_errors=True)
