"""The batches of a run without an end."""

import itertools
from collections.abc import Iterator

import jax
import numpy as np

from train.batches import Batch, training_batches
from train.run import Run


def endless_batches(run: Run) -> Iterator[tuple[np.ndarray, Batch]]:
    """Indices and batch of each step, epoch after epoch."""
    for epoch in itertools.count():
        order = jax.random.fold_in(run.keys["order"], epoch)
        yield from training_batches(run.dataset, run.config.batch_size, order)
