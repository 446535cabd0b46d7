"""What a person should know about a data set before training."""

import statistics
from collections.abc import Mapping

RATIO = 3  # of the largest class to the smallest, from which it is worth a line


def imbalance(counts: Mapping[str, int]) -> str | None:
    """A line that names the smallest and the largest class, where they differ much.

    Args:
      counts: class -> number of its training images.
    """
    if not counts:
        return None
    smallest, largest = (choose(counts, key=counts.get) for choose in (min, max))
    if counts[largest] < RATIO * counts[smallest] or not counts[largest]:
        return None
    median = statistics.median(counts.values())
    return (
        f"classes differ in size: {counts[smallest]} ({smallest!r}) to "
        f"{counts[largest]} ({largest!r}) training images, median {median:.10g}"
    )
