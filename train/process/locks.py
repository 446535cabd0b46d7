"""One process at a time in a folder, on any file system and system."""

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

# What file systems without locks answer, such as some of clusters.
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


LOCK = ".lock"  # the file in a folder that is locked


class FolderInUseError(Exception):
    """Another process has the folder; the message says which, if that is known."""


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder that does the same.

    A process that dies gives it back: the system frees the lock, or where there is
    none, the next process sees that the one that made `.in_use` is gone.

    Raises:
      FolderInUseError: another process has it.
    """
    with (folder / LOCK).open("ab") as file:
        if has_lock(file):
            yield
            return
    with owned(folder / ".in_use"):
        yield


def has_lock(file: BinaryIO) -> bool:
    """Whether this process now has the system's lock of a file; not, where there are
    no such locks.

    Raises:
      FolderInUseError: another process has it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FolderInUseError("another process") from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


@contextlib.contextmanager
def owned(file: Path) -> Iterator[None]:
    """Makes a file that says which process has it, and removes it at the end.

    Raises:
      FolderInUseError: a process has it that lives, or is on another host.
    """
    with contextlib.suppress(FileNotFoundError):
        if not may_live(file.read_text()):
            file.unlink()
    try:
        with file.open("x") as stream:
            stream.write(this_process())
    except FileExistsError as error:
        raise FolderInUseError(
            f"process {file.read_text()} (if that is gone, remove {file})"
        ) from error
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def this_process() -> str:
    return f"{os.getpid()} of {socket.gethostname()}"


def may_live(owner: str) -> bool:
    """Whether another process, which `owned` wrote down, may still run."""
    process, _, host = owner.partition(" of ")
    if owner == this_process():  # a container's processes have the same numbers again
        return False
    # Windows has no way to ask that does not end the process.
    if host != socket.gethostname() or sys.platform == "win32":
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:  # of another user
        return True
    return True
