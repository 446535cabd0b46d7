"""How a run starts: its data set and net, and its first state or the latest one."""

import logging
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

import gpwjax
from gpwjax.ops.platforms import form

from .batches import placements
from .checkpoints import Checkpoints
from .config import Config, RunError
from .data import Dataset, check_trainable, load_dataset
from .data.remarks import imbalance, repeats, repeats_text, shown_weights
from .process.hosts import first_host_first, is_first
from .recipes import described, settled
from .run import Run
from .run_folder import has_run, write_skipped
from .state import Metrics, TrainState, merged, split
from .teacher import load_teacher
from .transfer import check_head, load_source, sized_as, take_over

log = logging.getLogger(__name__)


def start(config: Config) -> Run:
    """Loads the data set and makes the net.

    Args:
      config: as `check_run_folder` gives it.

    Raises:
      RunError: the run cannot begin.
    """
    # A run that has begun needs it no more.
    is_new = not has_run(config.folder)
    source = load_source(config) if config.init and is_new else None
    if source is not None:
        config = sized_as(config, source)
    with first_host_first("load the data set"):
        dataset = load_dataset(config)
    config = settled(config, dataset, jax.device_count())
    check_trainable(dataset, config)
    if source is not None:
        check_head(source, dataset.classes, config.freeze)
    teacher = load_teacher(config, dataset.classes) if config.teacher else None
    if config.batch_size % jax.device_count():
        raise RunError(
            f"--batch-size must be a multiple of the {jax.device_count()} devices, "
            f"got {config.batch_size}"
        )
    try:
        run = run_of(config, dataset, source, teacher)
        counts = run.counts
    except ValueError as error:
        raise RunError(str(error)) from error
    log.info(
        "%s %s: %s parameters, %.1f M multiply-accumulates an image",
        config.model,
        config.variant,
        f"{counts.params:,}",
        counts.macs / 1e6,
    )
    return run


def run_of(config: Config, dataset: Dataset, *nets: gpwjax.Classifier | None) -> Run:
    """A run on a data set that is loaded; `nets` are its source and its teacher.

    Raises:
      ValueError: there is no such net.
    """
    model = make_model(config, len(dataset.classes))
    return Run(config, dataset, model, *nets)


def make_model(config: Config, classes: int) -> nn.Module:
    """The net of a configuration. Raises ValueError where there is none."""
    return gpwjax.create_model(
        config.model,
        classes,
        config.min_channels,
        config.small_images,
        None if config.dtype == "float32" else config.dtype,
        config.batch_norm_momentum,
        config.remat,
        config.scheme,
    )


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
    log_classes(run)
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


def log_classes(run: Run) -> None:
    """Says how uneven the classes are, and which pictures are there twice."""
    data: Dataset = run.dataset
    if run.class_weights is not None:
        weights = dict(zip(data.classes, run.class_weights.tolist(), strict=True))
        log.info("weights in the loss: %s", shown_weights(weights))
    elif uneven := imbalance(data.class_counts(data.train)):
        log.warning("%s; --class-weights balanced lets each count the same", uneven)
    if repeated := repeats_text(repeats(data)):
        log.warning("%s; gpwjax data lists them", repeated)


def start_state(run: Run, checkpoints: Checkpoints) -> TrainState:
    """The state of the latest checkpoint, or the first one of a run."""
    state = checkpoints.restore_latest()
    if state is not None:
        log.info("going on from step %d", state.step)
        return state
    log.info("compiling the net; the compilation cache keeps it for later runs")
    taken = None
    if run.config.init:
        source = run.source or load_source(run.config)
        taken = take_over(source, run.config, run.dataset.classes)
    init = first_state(run.config, run.model, run.optimizer)
    return init(run.keys["init"], taken)


def expected_state(
    config: Config, model: nn.Module, optimizer: optax.GradientTransformation
) -> TrainState:
    """Shapes, dtypes and placements of a state."""
    whole, _ = placements()
    shapes = first_state(config, model, optimizer).eval_shape(jax.random.key(0), None)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), shapes
    )


@lru_cache(maxsize=1)  # so that it is traced once
def first_state(
    config: Config, model: nn.Module, optimizer: optax.GradientTransformation
) -> jax.stages.Wrapped:
    """A jitted function from a random key to the state before the first step.

    Its second argument, if any, holds variables to begin with, of some or all parts.
    """
    size = config.image_size

    def init(key: jax.Array, taken: dict[str, Any] | None = None) -> TrainState:
        with form("default"):  # one of all is traced: no answer of the net is used
            drawn = model.init(key, jnp.zeros((1, size, size, 3)), train=False)
        trained, frozen = split(merged(drawn, taken or {}), config.freeze)
        state = TrainState.create(
            apply_fn=model.apply,
            tx=optimizer,
            metrics=Metrics.zero(),
            frozen=frozen,
            **trained,
        )
        # A copy, since the step overwrites both the variables and their mean.
        ema = jax.tree.map(jnp.copy, trained) if config.ema else None
        return state.replace(step=jnp.zeros((), jnp.int32), ema=ema)

    # It runs once, so the quickest to compile is best: 3 s instead of 13.
    options = {"xla_backend_optimization_level": 0}
    whole, _ = placements()
    return jax.jit(init, out_shardings=whole, compiler_options=options)
