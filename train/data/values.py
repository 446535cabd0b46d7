"""Which values the 16-bit pictures of a data set have."""

import logging
from concurrent.futures import ThreadPoolExecutor

from gpwjax.deep_pictures import FULL_RANGE, Range
from gpwjax.pictures import UnreadableImageError, read_values

from ..config import RunError
from ..process.progress import progress_bar
from .source import Source

log = logging.getLogger(__name__)


def find_values(source: Source) -> Range:
    """The lowest and the highest value of the 16-bit pictures to train on; where there
    is none, those that 16 bits have.

    Raises:
      RunError: the pictures are no files, or all of their values are one.
    """
    if source.file is None:
        raise RunError(
            f"--range-16-bit auto is for pictures in files, which {source.name} has "
            "not: give the range, such as 0-4095"
        )
    numbers = source.splits.get("train") or source.splits["all"]

    def values_of(number: int) -> Range | None:
        try:
            return read_values(source.file(number))
        except UnreadableImageError:
            return None  # named when it is decoded

    with (
        ThreadPoolExecutor() as pool,
        progress_bar(f"values of {source.name}", len(numbers)) as bar,
    ):
        found = []
        for values in pool.map(values_of, numbers):
            found += [values] if values else []
            bar.update()
    if not found:
        log.info("--range-16-bit auto: no training picture has 16 bits")
        return FULL_RANGE
    low, high = min(low for low, _ in found), max(high for _, high in found)
    if low == high:
        raise RunError(
            f"--range-16-bit auto: all 16-bit pictures of {source.name} are of one "
            f"value, {low}"
        )
    log.info("16-bit pictures: %d is black, %d white", low, high)
    return low, high
