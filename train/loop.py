"""The order of things in a run."""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from .batches import evaluation_batches, few_ahead, placements, training_batches
from .checkpoints import Checkpoints
from .config import Config, RunError
from .data import Dataset, load_dataset
from .origin import (
    check_origin,
    check_run_folder,
    is_at_same_place,
    locked,
    make_run_folder,
)
from .process.hosts import first_host_first, is_first, largest
from .process.progress import progress_bar
from .process.stop import Stopped, StopRequest
from .results import epoch_row, log_epoch, test_and_write
from .run import Run
from .run_folder import is_finished, read_metrics, write_metrics
from .start import expected_state, log_dataset, start, start_state
from .state import Metrics, TrainState
from .step import add_answers, eval_step, train_step
from .tensorboard import Events
from .validation import doubt, is_over
from .watch import LossWatch

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 300  # between the checkpoints within an epoch
STEPS_ALONE = 10  # after which several hosts ask each other whether to save or stop


def fit(config: Config, stop: StopRequest) -> dict[str, Any]:
    """Trains and tests the net of a configuration; goes on where a run stopped.

    Returns:
      The content of result.json.

    Raises:
      RunError: the run cannot begin or go on.
      Stopped: it was asked to stop; where it stopped is saved.
    """
    folder = config.folder
    config = check_run_folder(config)
    if is_finished(folder):
        if not is_at_same_place(config):
            check_origin(folder, load_dataset(config))
        log.info("the run in %s is finished", folder)
        draw_missing(folder, partial(load_dataset, config))
        from .report.runs import read_result  # takes a second, as below

        return read_result(folder)
    # Around the start too, so that what it traces needs not be traced again.
    with jax.default_matmul_precision(config.matmul_precision):
        run = start(config)
        if is_first():
            make_run_folder(run.config)
        with locked(folder):
            with first_host_first("check the run folder"):
                check_origin(folder, run.dataset, run.teacher)
            log_dataset(run)
            return train_and_test(run, stop)


def draw_missing(folder: Path, load: Callable[[], Dataset]) -> None:
    """As `report.drawings.draw_missing`; of several hosts the first one draws."""
    if is_first():
        from .report import drawings  # takes a second, which a start should not

        drawings.draw_missing(folder, load)


def train_and_test(run: Run, stop: StopRequest) -> dict[str, Any]:
    """All epochs that are still to do, and the test; the content of result.json."""
    like = expected_state(run.config, run.model, run.optimizer)
    with Checkpoints(run.folder, like, run.config.first_best) as checkpoints:
        state = start_state(run, checkpoints)
        with Events(run, int(state.step)) as events:
            rows = train(run, stop, state, checkpoints, events)
            del state  # its memory is for the test
            best_state, best = checkpoints.restore_best()
            result = test_and_write(run, best_state.tested_variables, rows, best)
            draw_missing(run.folder, lambda: run.dataset)
            events.pictures(rows[-1]["step"])
            return result


def train(
    run: Run,
    stop: StopRequest,
    state: TrainState,
    checkpoints: Checkpoints,
    events: Events,
) -> list[dict]:
    """Trains from the state's epoch to the last one; the rows of metrics.csv."""
    config = run.config
    first_epoch = int(state.step) // run.steps_per_epoch
    # Rows of epochs whose checkpoint was not finished are made again.
    rows = [row for row in read_metrics(run.folder) if row["epoch"] <= first_epoch]
    stop.postpone()
    with progress_bar(
        "training",
        total=config.epochs * run.steps_per_epoch * config.batch_size,
        done=int(state.step) * config.batch_size,
    ) as bar:
        for epoch in range(first_epoch, config.epochs):
            if is_over(rows, config.patience, config.first_best):
                log.info(
                    "ending after epoch %d: %d epochs without a better validation",
                    epoch,
                    config.patience,
                )
                break
            begun = time.monotonic()
            state, rate = train_epoch(run, stop, state, epoch, checkpoints, events, bar)
            if not state.metrics.images:
                raise RunError(f"all batches of epoch {epoch + 1} were skipped")
            trained, validated = state.metrics.means(), validate(run, state)
            seconds = time.monotonic() - begun
            rows.append(epoch_row(run, epoch, trained, validated, rate, seconds))
            state = state.replace(metrics=zero_metrics())
            end_epoch(run, state, rows, checkpoints, events)
            (signum,) = largest(stop.signum or 0)
            if signum and epoch + 1 < config.epochs:
                raise Stopped(signum, f"stopped after epoch {epoch + 1}")
    return rows


def end_epoch(
    run: Run,
    state: TrainState,
    rows: list[dict[str, Any]],
    checkpoints: Checkpoints,
    events: Events,
) -> None:
    """Saves what came of an epoch and says how it was."""
    if is_first():
        write_metrics(run.folder, rows)
    events.epoch(rows[-1])
    checkpoints.save(state, rows[-1])
    epochs, images = run.config.epochs, len(run.dataset.val)
    log_epoch(rows[-1], epochs)
    if doubtful := doubt(rows, epochs, images, run.chance):
        log.warning(doubtful)


def train_epoch(
    run: Run,
    stop: StopRequest,
    state: TrainState,
    epoch: int,
    checkpoints: Checkpoints,
    events: Events,
    bar: tqdm,
) -> tuple[TrainState, float]:
    """The steps of an epoch that are still to do: the new state, and images/s."""
    batch_size, steps = run.config.batch_size, run.steps_per_epoch
    first = int(state.step) % steps
    watch = LossWatch(run, events)
    steps_alone = 1 if jax.process_count() == 1 else STEPS_ALONE
    saved = time.monotonic()
    order = jax.random.fold_in(run.keys["order"], epoch)
    batches = training_batches(run.dataset, batch_size, order, first)
    step = partial(train_step, settings=run.step_settings)
    constants = run.keys["step"], run.class_weights, run.teaching
    for number, (indices, batch) in enumerate(batches, first + 1):
        state, loss = step(state, *batch, *constants)
        earlier = watch.add(epoch * steps + number, indices, loss)
        if earlier is not None:
            bar.set_postfix_str(f"loss {earlier:.3f}", refresh=False)
        if number == first + 1:
            loss.block_until_ready()
            begun = time.monotonic()  # the first step may have been compiled
        bar.update(batch_size)
        if number == first + 1:
            bar.refresh()
        if number == steps or number % steps_alone:
            continue
        late = time.monotonic() - saved > CHECKPOINT_SECONDS
        due, signum = largest(late, stop.signum or 0)
        if due or signum:
            watch.finish()  # so that the last good checkpoint is not replaced
            checkpoints.save(state)
            saved = time.monotonic()
        if signum:
            raise Stopped(signum, f"stopped in epoch {epoch + 1}, step {state.step}")
    watch.finish()
    return state, (steps - first - 1) * batch_size / (time.monotonic() - begun)


def validate(run: Run, state: TrainState) -> dict[str, float]:
    """Mean loss and accuracy on the validation images."""
    *_, metrics = few_ahead(validation_sums(run, state))
    return metrics.means()


def validation_sums(run: Run, state: TrainState) -> Iterator[Metrics]:
    """The sums over the validation images so far, after each batch."""
    data, metrics, key = run.dataset, zero_metrics(), None
    evaluated = partial(eval_step, run.model, state.tested_variables)
    of_step = jax.random.fold_in(run.keys["val"], int(state.step))
    batches = evaluation_batches(data, data.val, run.config.batch_size)
    for number, ((images, labels), weights) in enumerate(batches):
        if run.config.augment_val:
            key = jax.random.fold_in(of_step, number)
        logits = evaluated(images, key, settings=run.validation_settings)
        metrics = add_answers(metrics, logits, labels, weights)
        yield metrics


def zero_metrics() -> Metrics:
    """Sums of no image, on the devices."""
    whole, _ = placements()
    return jax.jit(Metrics.zero, out_shardings=whole)()
