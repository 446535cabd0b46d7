"""How long the whole recipe of a run would take, from some seconds of it."""

import itertools
import time
from collections.abc import Sequence

import jax
import numpy as np

from benchmarks.record import add
from train.config import NO_AUGMENTATION, Config
from train.data import load_dataset
from train.loop import evaluate, first_state, make_model
from train.process.runtime import start_jax
from train.process.stop import StopRequest
from train.run import Run
from train.step import TrainState, train_step

VAL_BATCHES = 20


def try_rows(configs: Sequence[Config], seconds: float, commit: str) -> None:
    """Trains each for some seconds, prints what that says of the whole recipe, and
    writes results/trial-DATE-DEVICE.json."""
    start_jax()
    line = "{:<42}{:>10}{:>12}{:>10}{:>9}"
    print(line.format("row", "images/s", "validation", "compiled", "minutes"))
    minutes = 0.0
    for config in configs:
        figures = try_row(config, seconds)
        minutes += figures["minutes"]
        about = {"dtype": config.dtype, "seconds": seconds, "commit": commit}
        file = add("trial", f"{config.preset} {config.dtype}", figures | about)
        cells = (f"{value:,.1f}" for value in figures.values())
        print(line.format(config.preset, *cells), flush=True)
    print(f"together {minutes:,.0f} minutes for one seed; written to {file}")


def try_row(config: Config, seconds: float) -> dict[str, float]:
    """Images a second in training and in validation, data included; seconds to the end
    of the first step; and minutes of the whole recipe."""
    run = Run(config, config.folder, load_dataset(config), StopRequest())
    data = run.dataset
    with jax.default_matmul_precision(config.matmul_precision):
        begun = time.monotonic()
        model, _ = make_model(run)
        state = first_state(run, model)(run.keys["init"])
        state, rate, first = training_rate(run, state, seconds)
        compiled = first - begun
        chosen = data.val[: VAL_BATCHES * config.batch_size]
        validation_rate(run, state, chosen)  # compiles
        val_rate = validation_rate(run, state, chosen)
    epoch = len(data.train) / rate + len(data.val) / val_rate
    return {
        "images_per_second": rate,
        "validation_images_per_second": val_rate,
        "compile_seconds": compiled,
        "minutes": (compiled + config.epochs * epoch) / 60,
    }


def training_rate(
    run: Run, state: TrainState, seconds: float
) -> tuple[TrainState, float, float]:
    """The state after some seconds of training, its images a second, and when the first
    step, which is left out, had ended."""
    batches = itertools.chain.from_iterable(
        map(run.training_batches, itertools.count())
    )
    earlier, first, steps = None, None, -1
    while steps < 1 or time.monotonic() - first < seconds:
        _, batch = next(batches)
        state, loss = train_step(state, *batch, run.keys["step"], config=run.config)
        (loss if earlier is None else earlier).block_until_ready()
        first = first or time.monotonic()
        earlier, steps = loss, steps + 1
    loss.block_until_ready()
    return state, steps * run.config.batch_size / (time.monotonic() - first), first


def validation_rate(run: Run, state: TrainState, indices: np.ndarray) -> float:
    """Images a second of a validation as the run does it."""
    config = run.config
    augmentation = config.augmentation if config.augment_val else NO_AUGMENTATION
    begun = time.monotonic()
    evaluate(run, state, indices, augmentation)
    return len(indices) / (time.monotonic() - begun)
