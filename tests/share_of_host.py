"""Prints what one of several hosts holds of a batch, as a line of JSON.

python share_of_host.py COORDINATOR HOSTS HOST_ID
"""

import json
import sys
from pathlib import Path

import numpy as np

from train.config import Config
from train.data import Dataset
from train.process.hosts import connect
from train.process.stop import StopRequest
from train.run import Run


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
    run = Run(config, Path(), data, StopRequest())
    indices, (batch, _) = next(run.training_batches(epoch=3))
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
