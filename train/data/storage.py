"""What data sets take on the disk: prepared ones, and the cache of decoded images."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from .cache import cache_dir
from .prepared import list_prepared, versions


def listing(data_dir: Path) -> str:
    """A line for each prepared version and each cached array, with its size."""
    prepared = [
        version
        for name in list_prepared(data_dir)
        for version in sorted(versions(data_dir / name))
    ]
    return "\n".join(
        [
            f"prepared in {data_dir}:",
            *lines((str(folder.relative_to(data_dir)), folder) for folder in prepared),
            f"decoded images in {place()}, which --clean frees:",
            *lines((folder.name, folder) for folder in cached()),
        ]
    )


def lines(folders: Iterator[tuple[str, Path]]) -> list[str]:
    """Sizes and names, and their sum."""
    sizes = [(size_of(folder), name) for name, folder in folders]
    total = (sum(size for size, _ in sizes), "in all")
    return [f"{size / 1e6:12,.1f} MB  {name}" for size, name in [*sizes, total]]


def clean(name: str | None) -> str:
    """Frees the cache of decoded images, of one data set or of all.

    Decoded again when they are needed. Prepared sets stay.

    Args:
      name: of the data set or, where it is one, of its CSV file; None: all.

    Returns:
      What was freed, a line.
    """
    if name and name.lower().endswith(".csv"):
        name = Path(name).stem
    folders = [folder for folder in cached() if name in (None, set_of(folder))]
    freed = sum(map(size_of, folders))
    for folder in folders:
        shutil.rmtree(folder)
    return f"freed {freed / 1e6:,.1f} MB: {len(folders)} of {place()}"


def place() -> str:
    return str(cache_dir() or "no cache folder")


def set_of(folder: Path) -> str:
    """The data set whose images a folder of the cache holds."""
    return folder.name.partition(".unfinished-")[0].rsplit("-", 2)[0]


def cached() -> list[Path]:
    """The folders of the cache, unfinished ones too."""
    folder = cache_dir()
    return sorted(folder.iterdir()) if folder and folder.is_dir() else []


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
