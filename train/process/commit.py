"""Which code runs."""

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from . import PROGRAM

CHECKOUT = Path(__file__).parents[2]
UNKNOWN = "unknown"


def commit_of(*paths: str) -> str:
    """The commit of the checkout; it ends in -dirty where these paths in it differ, and
    is UNKNOWN where git does not say. Without a checkout, the version.

    Args:
      paths: as git takes them, from the checkout's root.
    """
    if PROGRAM != "train":  # a checkout around it would be another one
        return f"gpwjax {version('gpwjax')}"
    if shutil.which("git") is None:
        return UNKNOWN
    number = git("rev-parse", "HEAD")
    if number.returncode:
        return UNKNOWN
    changes = git("diff", "--quiet", "HEAD", "--", *paths)
    return number.stdout.strip() + ("-dirty" if changes.returncode else "")


def git(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["git", "-C", CHECKOUT, *args], capture_output=True, text=True, check=False
    )
