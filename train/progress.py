"""The progress bar of everything that takes long."""

import sys

from tqdm import tqdm


def progress_bar(what: str, total: int, done: int = 0) -> tqdm:
    """A bar over images, with their rate and the time left; it begins at `done`."""
    return tqdm(
        desc=what,
        total=total,
        initial=done,
        unit="img",
        unit_scale=True,
        dynamic_ncols=True,
        # In a log file each refresh stays.
        mininterval=0.5 if sys.stderr.isatty() else 10,
    )
