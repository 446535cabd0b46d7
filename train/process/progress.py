"""The progress bar of everything that takes long."""

import sys

from tqdm import tqdm


def progress_bar(what: str, total: int, done: int = 0, unit: str = "img") -> tqdm:
    """A bar with the rate and the time left; it begins at `done`.

    `total` is 0 where it is not known.
    """
    return tqdm(
        desc=what,
        total=total or None,
        initial=done,
        unit=unit,
        unit_scale=True,
        dynamic_ncols=True,
        # In a log file each refresh stays.
        mininterval=0.5 if sys.stderr.isatty() else 10,
    )
