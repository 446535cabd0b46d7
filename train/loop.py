"""The order of things in a run."""

import logging
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from tqdm import tqdm

import gpwjax
from train.checkpoints import Checkpoints
from train.config import NO_AUGMENTATION, Augmentation, Config, RunError
from train.data import check_trainable, load_dataset
from train.data.report import imbalance, repeats, repeats_text, shown_weights
from train.drawings import draw_missing
from train.hosts import first_host_first, gathered, is_first, largest
from train.optimizer import make_optimizer, make_schedule
from train.progress import progress_bar
from train.recipes import described, settled
from train.results import write_results
from train.run import Run
from train.run_folder import (
    check_origin,
    check_run_folder,
    is_at_same_place,
    locked,
    make_run_folder,
    read_json,
    read_metrics,
    write_metrics,
    write_skipped,
)
from train.step import (
    Metrics,
    Predicted,
    TrainState,
    eval_step,
    merged,
    split,
    train_step,
)
from train.stop import Stopped, StopRequest
from train.tensorboard import Events
from train.transfer import check_head, load_source, sized_as, take_over
from train.validation import doubt, is_over
from train.watch import STEPS_AHEAD, LossWatch

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
    if (folder / "result.json").is_file():
        if not is_at_same_place(config):
            check_origin(folder, load_dataset(config))
        log.info("the run in %s is finished", folder)
        if is_first():
            draw_missing(folder, partial(load_dataset, config))
        return read_json(folder / "result.json")
    # A run that has begun needs it no more, or checks it again.
    is_new = not (folder / "config.json").is_file()
    source = load_source(config) if config.init and is_new else None
    if source is not None:
        config = sized_as(config, source)
    with first_host_first("load the data set"):
        dataset = load_dataset(config)
    config = settled(config, dataset, jax.device_count())
    check_trainable(dataset, config)
    if source is not None:
        check_head(source, dataset.classes, config.freeze)
    run = Run(config, folder, dataset, stop)
    model, counts = make_model(run)
    if is_first():
        make_run_folder(config)
    with locked(folder), jax.default_matmul_precision(config.matmul_precision):
        with first_host_first("check the run folder"):
            check_origin(folder, dataset)
        log_dataset(run)
        return train_and_test(run, model, counts)


def train_and_test(run: Run, model: nn.Module, counts: gpwjax.Counts) -> dict[str, Any]:
    """All epochs that are still to do, and the test; the content of result.json."""
    with Checkpoints(
        run.folder, expected_state(run, model), run.config.first_best
    ) as checkpoints:
        state = start_state(run, model, checkpoints)
        with Events(run, int(state.step)) as events:
            rows = train(run, state, checkpoints, events)
            state, best = checkpoints.restore_best()
            epoch = best["epoch"]
            log.info("testing the net of epoch %d, the best in validation", epoch)
            test, predicted = evaluate(run, state, run.dataset.test)
            result = write_results(
                run, model, counts, state, rows, best, test, predicted
            )
            if is_first():
                draw_missing(run.folder, lambda: run.dataset)
            events.pictures(rows[-1]["step"])
            return result


def log_dataset(run: Run) -> None:
    """Says what is trained on, and what was left out."""
    data = run.dataset
    log.info(
        "%s: %s training, %s validation, %s test images of %d classes, stored at "
        "%dx%d pixels",
        data.name,
        *(f"{len(indices):,}" for indices in (data.train, data.val, data.test)),
        len(data.classes),
        data.stored_size,
        data.stored_size,
    )
    log.info(described(run.config))
    if run.class_weights is not None:
        weights = dict(zip(data.classes, run.class_weights.tolist(), strict=True))
        log.info("weights in the loss: %s", shown_weights(weights))
    elif uneven := imbalance(data.class_counts(data.train)):
        log.warning("%s; --class-weights balanced lets each count the same", uneven)
    if repeated := repeats_text(repeats(data)):
        log.warning("%s; python -m train.data lists them", repeated)
    if data.skipped and is_first():
        file = write_skipped(run.folder, data.skipped)
        name, reason = data.skipped[0]
        log.warning(
            "left out %d images, listed in %s; the first: %r: %s",
            len(data.skipped),
            file,
            name,
            reason,
        )


def make_model(run: Run) -> tuple[nn.Module, gpwjax.Counts]:
    """The net of the configuration, for the data set's classes, and its counts."""
    config = run.config
    if config.batch_size % jax.device_count():
        raise RunError(
            f"--batch-size must be a multiple of the {jax.device_count()} devices, "
            f"got {config.batch_size}"
        )
    try:
        model = gpwjax.create_model(
            config.model,
            len(run.dataset.classes),
            config.min_channels,
            config.small_images,
            None if config.dtype == "float32" else config.dtype,
            config.batch_norm_momentum,
            config.remat,
            config.scheme,
        )
        counts = gpwjax.count(model, (config.image_size, config.image_size, 3))
    except ValueError as error:
        raise RunError(str(error)) from error
    log.info(
        "%s %s: %s parameters, %.1f M multiply-accumulates an image",
        config.model,
        config.variant,
        f"{counts.params:,}",
        counts.macs / 1e6,
    )
    return model, counts


def start_state(run: Run, model: nn.Module, checkpoints: Checkpoints) -> TrainState:
    """The state of the latest checkpoint, or the first one of a run."""
    state = checkpoints.restore_latest()
    if state is None:
        log.info("compiling the net; the compilation cache keeps it for later runs")
        config = run.config
        taken = take_over(config, run.dataset.classes) if config.init else None
        return first_state(run, model)(run.keys["init"], taken)
    log.info("going on from step %d", state.step)
    return state


def expected_state(run: Run, model: nn.Module) -> TrainState:
    """Shapes, dtypes and placements of a state."""
    shapes = first_state(run, model).eval_shape(run.keys["init"])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=run.replicated),
        shapes,
    )


def first_state(run: Run, model: nn.Module) -> jax.stages.Wrapped:
    """A jitted function from a random key to the state before the first step.

    Its second argument, if any, holds variables to begin with, of some or all parts.
    """
    size = run.config.image_size
    optimizer = make_optimizer(run.config, run.steps_per_epoch)

    def init(key: jax.Array, taken: dict[str, Any] | None = None) -> TrainState:
        drawn = model.init(key, jnp.zeros((1, size, size, 3)), train=False)
        trained, frozen = split(merged(drawn, taken or {}), run.config.freeze)
        state = TrainState.create(
            apply_fn=model.apply,
            tx=optimizer,
            metrics=Metrics.zero(),
            frozen=frozen,
            **trained,
        )
        # A copy, since the step overwrites both the variables and their mean.
        ema = jax.tree.map(jnp.copy, trained) if run.config.ema else None
        return state.replace(step=jnp.zeros((), jnp.int32), ema=ema)

    # It runs once, so the quickest to compile is best: 3 s instead of 13.
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(init, out_shardings=run.replicated, compiler_options=options)


def train(
    run: Run, state: TrainState, checkpoints: Checkpoints, events: Events
) -> list[dict]:
    """Trains from the state's epoch to the last one; the rows of metrics.csv."""
    config = run.config
    first_epoch = int(state.step) // run.steps_per_epoch
    # Rows of epochs whose checkpoint was not finished are made again.
    rows = [row for row in read_metrics(run.folder) if row["epoch"] <= first_epoch]
    run.stop.postpone()
    images_per_epoch = run.steps_per_epoch * config.batch_size
    schedule = make_schedule(config, run.steps_per_epoch)
    val_augmentation = config.augmentation if config.augment_val else NO_AUGMENTATION
    with progress_bar(
        "training",
        total=config.epochs * images_per_epoch,
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
            state, rate = train_epoch(run, state, epoch, checkpoints, events, bar)
            if not state.metrics.images:
                raise RunError(f"all batches of epoch {epoch + 1} were skipped")
            trained = state.metrics.means()
            validated, _ = evaluate(run, state, run.dataset.val, val_augmentation)
            step = (epoch + 1) * run.steps_per_epoch
            row = {
                "epoch": epoch + 1,
                "step": step,
                "lr": round_off(schedule(step - 1)),
                **{f"train_{name}": round_off(x) for name, x in trained.items()},
                **{f"val_{name}": round_off(x) for name, x in validated.items()},
                "images_per_second": round(rate, 1),
                "seconds": round(time.monotonic() - begun, 3),
            }
            rows.append(row)
            if is_first():
                write_metrics(run.folder, rows)
            events.epoch(row)
            state = state.replace(metrics=run.zero_metrics())
            checkpoints.save(state, row)
            log_epoch(row, config.epochs)
            if doubtful := doubt(rows, config.epochs, len(run.dataset.val), run.chance):
                log.warning(doubtful)
            (signum,) = largest(run.stop.signum or 0)
            if signum and epoch + 1 < config.epochs:
                raise Stopped(signum, f"stopped after epoch {epoch + 1}")
    return rows


def train_epoch(
    run: Run,
    state: TrainState,
    epoch: int,
    checkpoints: Checkpoints,
    events: Events,
    bar: tqdm,
) -> tuple[TrainState, float]:
    """The steps of an epoch that are still to do: the new state, and images/s."""
    config = run.config
    first = int(state.step) % run.steps_per_epoch
    watch = LossWatch(run, events)
    steps_alone = 1 if jax.process_count() == 1 else STEPS_ALONE
    saved = time.monotonic()
    batches = run.training_batches(epoch, first)
    for number, (indices, batch) in enumerate(batches, first + 1):
        state, loss = train_step(
            state, *batch, run.keys["step"], run.class_weights, config=config
        )
        earlier = watch.add(epoch * run.steps_per_epoch + number, indices, loss)
        if earlier is not None:
            bar.set_postfix_str(f"loss {earlier:.3f}", refresh=False)
        if number == first + 1:
            loss.block_until_ready()
            begun = time.monotonic()  # the first step may have been compiled
        bar.update(config.batch_size)
        if number == first + 1:
            bar.refresh()
        if number == run.steps_per_epoch or number % steps_alone:
            continue
        due, signum = largest(
            time.monotonic() - saved > CHECKPOINT_SECONDS, run.stop.signum or 0
        )
        if due or signum:
            watch.finish()  # so that the last good checkpoint is not replaced
            checkpoints.save(state)
            saved = time.monotonic()
        if signum:
            raise Stopped(signum, f"stopped in epoch {epoch + 1}, step {state.step}")
    watch.finish()
    images = (run.steps_per_epoch - first - 1) * config.batch_size
    return state, images / (time.monotonic() - begun)


def evaluate(
    run: Run,
    state: TrainState,
    indices: np.ndarray,
    augmentation: Augmentation = NO_AUGMENTATION,
) -> tuple[dict[str, float], Predicted]:
    """Mean loss and accuracy on these images, and what is predicted for each."""
    metrics = run.zero_metrics()
    predicted = []
    key = jax.random.fold_in(run.keys["val"], int(state.step))
    for number, (batch, weights) in enumerate(run.evaluation_batches(indices)):
        metrics, answers = eval_step(
            state,
            metrics,
            *batch,
            weights,
            jax.random.fold_in(key, number),
            image_size=run.config.image_size,
            augmentation=augmentation,
        )
        predicted.append(answers)
        if len(predicted) > STEPS_AHEAD:
            predicted[-STEPS_AHEAD].classes.block_until_ready()
    whole = (gathered(jnp.concatenate(parts)) for parts in zip(*predicted, strict=True))
    return metrics.means(), Predicted(*(part[: len(indices)] for part in whole))


def round_off(x: jax.typing.ArrayLike) -> float:
    """A float32 without the digits that it does not have."""
    return float(f"{float(x):.7g}")


def log_epoch(row: dict[str, Any], epochs: int) -> None:
    log.info(
        "epoch %d/%d: loss %.4f, accuracy %.2f%%, in validation %.4f, %.2f%%; "
        "learning rate %.2g, %s images/s",
        row["epoch"],
        epochs,
        row["train_loss"],
        100 * row["train_accuracy"],
        row["val_loss"],
        100 * row["val_accuracy"],
        row["lr"],
        f"{row['images_per_second']:,.0f}",
    )
