"""What stays the same from the first to the last step of a run."""

import dataclasses
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from .config import Config
from .data import Dataset
from .process.stop import StopRequest
from .step import Metrics

Batch = tuple[jax.Array, jax.Array]  # (N, size, size, 3) uint8 images, (N,) labels


@cache
def placements() -> tuple[NamedSharding, NamedSharding]:
    """Whole on each device, and spread over all of them along the first axis."""
    # Auto axes, since Linen's Dropout does not know the explicit ones.
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    whole, spread = PartitionSpec(), PartitionSpec("data")
    return NamedSharding(mesh, whole), NamedSharding(mesh, spread)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's settings, folder and data, and what follows from them."""

    config: Config
    folder: Path
    dataset: Dataset
    stop: StopRequest

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches only; the images left over differ from epoch to epoch."""
        return len(self.dataset.train) // self.config.batch_size

    @cached_property
    def keys(self) -> dict[str, jax.Array]:
        """A random key for each use."""
        uses = ("init", "order", "step", "val")
        keys = jax.random.split(jax.random.key(self.config.seed), len(uses))
        return dict(zip(uses, keys, strict=True))

    @cached_property
    def class_weights(self) -> np.ndarray | None:
        """(classes,) weight of each class in the loss, 1 on average over the training
        images; None: all have the same."""
        if self.config.class_weights == "none":
            return None
        data = self.dataset
        counts = np.array([*data.class_counts(data.train).values()])
        return (counts.sum() / (len(counts) * counts)).astype(np.float32)

    @property
    def chance(self) -> float:
        """Accuracy in validation of naming its largest class always."""
        counts = self.dataset.class_counts(self.dataset.val).values()
        return max(counts) / sum(counts)

    @property
    def replicated(self) -> NamedSharding:
        """Placement of the state: whole on each device."""
        return placements()[0]

    @property
    def spread(self) -> NamedSharding:
        """Placement of a batch: its images spread over the devices."""
        return placements()[1]

    def zero_metrics(self) -> Metrics:
        """Sums of no image, on the devices."""
        return jax.jit(Metrics.zero, out_shardings=self.replicated)()

    def batch(self, indices: np.ndarray) -> Batch:
        """The images and labels of these indices, on the devices.

        A host reads only what its own devices get.
        """
        return self.place(self.dataset.images, indices), self.place(
            self.dataset.labels, indices
        )

    def place(self, array: np.ndarray, rows: np.ndarray) -> jax.Array:
        """These rows of an array, spread over the devices of all hosts."""
        shape = len(rows), *array.shape[1:]
        return jax.make_array_from_callback(
            shape, self.spread, lambda part: array[rows[part[0]]]
        )

    def training_batches(
        self, epoch: int, first: int = 0
    ) -> Iterator[tuple[np.ndarray, Batch]]:
        """Indices and batch of each step of an epoch from number `first` on.

        They depend on the seed and the epoch alone.
        """
        key = jax.random.fold_in(self.keys["order"], epoch)
        order = np.asarray(jax.random.permutation(key, len(self.dataset.train)))
        size = self.config.batch_size
        for number in range(first, self.steps_per_epoch):
            indices = self.dataset.train[order[number * size : (number + 1) * size]]
            yield indices, self.batch(indices)

    def evaluation_batches(
        self, indices: np.ndarray
    ) -> Iterator[tuple[Batch, jax.Array]]:
        """Batches of one size of all of `indices`, and (N,) weights: 0 for what fills
        up the last batch."""
        size = self.config.batch_size
        for start in range(0, len(indices), size):
            chosen = indices[start : start + size]
            weights = (np.arange(size) < len(chosen)).astype(np.float32)
            filled = np.resize(chosen, size)
            yield self.batch(filled), self.place(weights, np.arange(size))
