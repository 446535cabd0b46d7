"""How long the whole recipe of a run would take, from some seconds of it."""

import dataclasses
import time
from collections.abc import Sequence
from functools import partial

import jax

from benchmarks.batches import endless_batches
from benchmarks.record import add
from train.config import Config
from train.data import load_dataset
from train.loop import validate
from train.process.runtime import start_jax
from train.run import Run
from train.start import first_state, run_of
from train.state import TrainState
from train.step import train_step

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
    data = load_dataset(config)
    run = run_of(config, data)
    with jax.default_matmul_precision(config.matmul_precision):
        begun = time.monotonic()
        init = first_state(config, run.model, run.optimizer)
        state = init(run.keys["init"])
        state, rate, first = training_rate(run, state, seconds)
        compiled = first - begun
        chosen = data.val[: VAL_BATCHES * config.batch_size]
        short = run_of(config, dataclasses.replace(data, val=chosen))
        validation_rate(short, state)  # compiles
        val_rate = validation_rate(short, state)
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
    batches = endless_batches(run)
    step = partial(train_step, settings=run.step_settings)
    earlier, first, steps = None, None, -1
    while steps < 1 or time.monotonic() - first < seconds:
        _, batch = next(batches)
        state, loss = step(state, *batch, run.keys["step"])
        (loss if earlier is None else earlier).block_until_ready()
        first = first or time.monotonic()
        earlier, steps = loss, steps + 1
    loss.block_until_ready()
    return state, steps * run.config.batch_size / (time.monotonic() - first), first


def validation_rate(run: Run, state: TrainState) -> float:
    """Images a second of a validation as the run does it."""
    begun = time.monotonic()
    validate(run, state)
    return len(run.dataset.val) / (time.monotonic() - begun)
