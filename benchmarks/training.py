"""A real training run end to end: its start, and its rate beside that of bare steps.

    python -m benchmarks.training [ARGUMENT OF python -m train ...]

Runs `python -m train` twice with these arguments (none: digits) and two epochs, each in
a fresh folder: the first with an empty compilation cache, the second with the cache of
the first. Measures the seconds from the command to the end of the first step, the
images a second of the second epoch, and those of the same train step on one batch that
stays on the device. Also measures what `import gpwjax` adds to importing JAX and Flax.
Writes results/training-DATE-DEVICE.json.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from gpwjax.compilation import use_compilation_cache
from gpwjax.memory import keep_memory

STEPS = 100  # of the bare rate
IMPORTS = 5  # repeats
EPOCHS = "2"
FIRST_STEP = re.compile(r"training: .*\| *(?!0[.0]*/)[\d.]+[kMG]?/")


def main() -> None:
    args = [*sys.argv[1:], "--epochs", EPOCHS]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{folder}/cache"
        figures: dict[str, Any] = {
            "first_step_seconds": {
                cache: first_step(args, f"{folder}/{cache}")
                for cache in ("cold cache", "warm cache")
            },
            "epoch_images_per_second": epoch_rate(f"{folder}/warm cache"),
            "step_images_per_second": step_rate(args, f"{folder}/steps"),
        }
    figures["share"] = (
        figures["epoch_images_per_second"] / figures["step_images_per_second"]
    )
    figures["import_seconds"] = {
        what: import_seconds(f"import {what}")
        for what in ("jax, flax.linen", "jax, flax.linen, gpwjax")
    }
    # Not at the top: JAX would hold a GPU's memory while the runs want it.
    from benchmarks.record import add

    for what, value in figures.items():
        print(f"{what:<26}{value}")
    case = " ".join(sys.argv[1:]) or "no arguments"
    print(f"written to {add('training', case, figures)}")


def first_step(args: list[str], folder: str) -> float:
    """Seconds from the command to the end of its first step; runs it to its end."""
    command = [sys.executable, "-m", "train", *args, "--run-dir", folder]
    begun = time.monotonic()
    seconds, said = None, ""
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while piece := os.read(process.stderr.fileno(), 4096):
            said += piece.decode(errors="replace")
            if seconds is None and FIRST_STEP.search(said):
                seconds = time.monotonic() - begun
    if process.returncode or seconds is None:
        raise RuntimeError(f"{' '.join(command)} failed:\n{said}")
    return seconds


def epoch_rate(folder: str) -> float:
    """Images a second of the last epoch of a run, data included."""
    from train.run_folder import read_metrics

    return read_metrics(Path(folder))[-1]["images_per_second"]


def step_rate(args: list[str], folder: str) -> float:
    """Images a second of the run's train step, with one batch again and again."""
    from benchmarks.batches import endless_batches
    from train.command_line import parse
    from train.data import load_dataset
    from train.start import first_state, run_of
    from train.step import train_step

    config = parse([*args, "--run-dir", folder])
    run = run_of(config, load_dataset(config))
    state = first_state(config, run.model, run.optimizer)(run.keys["init"])
    _, batch = next(endless_batches(run))
    step = partial(train_step, settings=run.step_settings)
    seconds = []
    for _ in range(STEPS):
        begun = time.perf_counter()
        state, loss = step(state, *batch, run.keys["step"])
        loss.block_until_ready()
        seconds.append(time.perf_counter() - begun)
    return config.batch_size / statistics.median(seconds)


def import_seconds(statement: str) -> float:
    """Median time of a new Python that imports something."""
    seconds = []
    for _ in range(IMPORTS):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


if __name__ == "__main__":
    keep_memory()
    use_compilation_cache()
    main()
