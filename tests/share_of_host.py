"""Prints what one of several hosts holds of a batch, as a line of JSON.

python share_of_host.py COORDINATOR HOSTS HOST_ID
"""

import json
import sys

import jax
import numpy as np

from train.batches import training_batches
from train.config import Config
from train.data import Dataset
from train.process.hosts import connect


class Watched:
    """An array that remembers which rows were read."""

    def __init__(self, array: np.ndarray):
        self.array, self.shape, self.rows = array, array.shape, set()

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.rows.update(rows.tolist())
        return self.array[rows]


def main(coordinator: str, hosts: int, host_id: int) -> None:
    config = Config(
        "drawn",
        batch_size=16,
        distributed=True,
        coordinator=coordinator,
        hosts=hosts,
        host_id=host_id,
    )
    connect(config)
    numbers = np.arange(48)
    images = Watched(np.uint8(numbers[:, None, None, None].repeat(3, axis=3)))
    data = Dataset("drawn", ("a", "b"), images, numbers, numbers, numbers, numbers, [])
    key = jax.random.key(3)
    indices, (batch, _) = next(training_batches(data, config.batch_size, key))
    held = [np.asarray(shard.data) for shard in batch.addressable_shards]
    about = {
        "indices": indices.tolist(),
        "shape": batch.shape,
        "held": np.concatenate(held)[:, 0, 0, 0].tolist(),
        "read": sorted(images.rows),
    }
    print(json.dumps(about))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
