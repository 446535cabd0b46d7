"""How many images a second the training program reads and prepares, without a net.

    python -m benchmarks.data

Takes about a minute. Prints a table and writes results/data-DATE-DEVICE.json.
"""

import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from benchmarks.record import record
from train.batches import training_batches
from train.config import Config
from train.data import Dataset, load_dataset
from train.data.prepare import prepare
from train.data.published.archives import sha256
from train.data.published.pet import BREEDS

REPEATS = 5


def main() -> None:
    """Measures, prints and writes the rates."""
    # In memory's file system if the machine has one: not the disk is measured.
    with tempfile.TemporaryDirectory(dir=shared_memory()) as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        rates = {
            "gather and transfer, 32x32": gather(Path(folder), 50_000, 32),
            "gather and transfer, 224x224": gather(Path(folder), 4_000, 224),
            **preparing(Path(folder)),
        }
    for what, of in rates.items():
        print(f"{what:32} {statistics.median(of):10,.0f} images/s  ({spread(of)})")
    print(f"written to {record('data', {'images_per_second': rates})}")


def shared_memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def spread(rates: list[float]) -> str:
    return f"{min(rates):,.0f} to {max(rates):,.0f}, {len(rates)} runs"


def rate(count: int, do: Callable[[], None]) -> float:
    """Images a second of `do`, which handles `count`."""
    start = time.perf_counter()
    do()
    return count / (time.perf_counter() - start)


def gather(folder: Path, count: int, size: int) -> list[float]:
    """Rates of an epoch's batches from the memory map to the device."""
    rng = np.random.default_rng(0)
    file = folder / f"images-{size}.npy"
    np.save(file, rng.integers(0, 256, (count, size, size, 3), np.uint8))
    everything = np.arange(count)
    dataset = Dataset(
        name="drawn",
        classes=("a", "b"),
        images=np.load(file, mmap_mode="r"),
        labels=rng.integers(0, 2, count).astype(np.int32),
        train=everything,
        val=everything[:0],
        test=everything[:0],
        skipped=[],
    )
    key = jax.random.key(0)

    def epoch() -> None:
        for _, batch in training_batches(dataset, 64, key):
            jax.block_until_ready(batch)

    epoch()  # the first one compiles the permutation
    return [rate(count, epoch) for _ in range(REPEATS)]


def preparing(folder: Path, count: int = 2_000) -> dict[str, list[float]]:
    """Rates of preparing an archive like Oxford-IIIT Pet's, and of decoding the set."""
    archives = draw_pets(folder / "archives", count)
    digests = [sha256(file) for file in sorted(archives.iterdir())]
    prepared, decoded = [], []
    for number in range(3):
        data_dir = folder / f"prepared-{number}"
        prepared.append(
            rate(count, lambda: prepare("oxford_iiit_pet", data_dir, archives, digests))  # noqa: B023
        )
        config = Config(data="oxford_iiit_pet", data_dir=data_dir)
        decoded.append(rate(count, lambda: load_dataset(config)))  # noqa: B023
    return {"preparing Pet": prepared, "decoding Pet, 224x224": decoded}


def draw_pets(folder: Path, count: int) -> Path:
    """Writes images.tar.gz and annotations.tar.gz with pictures of 500x375 pixels."""
    rng = np.random.default_rng(0)
    content, names = folder.with_name("content"), []
    for path in ("images", "annotations"):
        (content / path).mkdir(parents=True)
    for number in range(count):
        breed = number % len(BREEDS)
        names.append(f"{BREEDS[breed]}_{number} {breed + 1} 1 1")
        coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
        image = Image.fromarray(coarse).resize((500, 375))
        image.save(content / "images" / f"{BREEDS[breed]}_{number}.jpg", quality=90)
    half = count // 2
    (content / "annotations/trainval.txt").write_text("\n".join(names[:half]))
    (content / "annotations/test.txt").write_text("\n".join(names[half:]))
    folder.mkdir()
    for path in ("images", "annotations"):
        with tarfile.open(folder / f"{path}.tar.gz", "w:gz", compresslevel=1) as tar:
            tar.add(content / path, path)
    return folder


if __name__ == "__main__":
    main()
