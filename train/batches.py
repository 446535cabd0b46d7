"""Batches of a data set, spread over the devices."""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from .data import Dataset

STEPS_AHEAD = 2  # how far the host runs ahead of the device

Batch = tuple[jax.Array, jax.Array]  # (N, size, size, 3) uint8 images, (N,) labels
Result = TypeVar("Result")


@cache
def placements() -> tuple[NamedSharding, NamedSharding]:
    """Whole on each device, and spread over all of them along the first axis."""
    # Auto axes, since Linen's Dropout does not know the explicit ones.
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    whole, spread = PartitionSpec(), PartitionSpec("data")
    return NamedSharding(mesh, whole), NamedSharding(mesh, spread)


def training_batches(
    dataset: Dataset, batch_size: int, key: jax.Array, first: int = 0
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Indices and batch of each step of an epoch from number `first` on.

    Whole batches only: the images left over differ from epoch to epoch.

    Args:
      key: the order of the images depends on it alone.
    """
    order = np.asarray(jax.random.permutation(key, len(dataset.train)))
    for number in range(first, len(dataset.train) // batch_size):
        chosen = order[number * batch_size : (number + 1) * batch_size]
        indices = dataset.train[chosen]
        yield indices, batch_of(dataset, indices)


def evaluation_batches(
    dataset: Dataset, indices: np.ndarray, batch_size: int
) -> Iterator[tuple[Batch, jax.Array]]:
    """Batches of one size of all of `indices`, and (N,) weights: 0 for what fills up
    the last batch."""
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        weights = (np.arange(batch_size) < len(chosen)).astype(np.float32)
        filled = np.resize(chosen, batch_size)
        yield batch_of(dataset, filled), spread_rows(weights, np.arange(batch_size))


def batch_of(dataset: Dataset, indices: np.ndarray) -> Batch:
    """The images and labels of these indices, on the devices."""
    return spread_rows(dataset.images, indices), spread_rows(dataset.labels, indices)


def spread_rows(array: np.ndarray, rows: np.ndarray) -> jax.Array:
    """These rows of an array, spread over the devices of all hosts, each of which reads
    only what its own devices get.

    On a CPU they are there when it returns. Else a step that comes before the copy is
    done would be computed by another thread, as would all after it, whose memory
    `keep_memory` does not keep.
    """
    _, spread = placements()
    shape = len(rows), *array.shape[1:]
    placed = jax.make_array_from_callback(
        shape, spread, lambda part: array[rows[part[0]]]
    )
    return placed.block_until_ready() if jax.default_backend() == "cpu" else placed


def few_ahead(results: Iterable[Result]) -> Iterator[Result]:
    """The results, arrays or trees of them, made on the way: the next one is begun once
    the device has the one STEPS_AHEAD before it."""
    pending: deque[Result] = deque()
    for result in results:
        pending.append(result)
        if len(pending) > STEPS_AHEAD:
            jax.block_until_ready(pending.popleft())
        yield result
