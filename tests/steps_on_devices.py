"""Steps of a run on all devices of this process, in float64; what came of them.

    python steps_on_devices.py OUT.npz FOLDER FIRST LAST

Takes the steps FIRST + 1 to LAST and saves a checkpoint in FOLDER, where it goes on
from one unless FIRST is 0. Else it also computes a batch, its augmentation, loss and
gradient in float32, and evaluates at the end. Every tenth state is written.
"""

import itertools
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gpwjax import Pointwise
from gpwjax.net import channels_first
from gpwjax.ops.activations import swish
from gpwjax.ops.batch_norm import BatchNorm
from gpwjax.ops.convolution import Conv
from gpwjax.ops.depthwise import Depthwise
from gpwjax.ops.platforms import form
from train.augment import augment
from train.batches import training_batches
from train.checkpoints import Checkpoints
from train.config import Config
from train.data import Dataset
from train.loop import validate
from train.mix import mix
from train.process.hosts import gathered
from train.run import Run
from train.start import expected_state, first_state
from train.state import TrainState
from train.step import EvalSettings, StepSettings, eval_step, loss_gradient, train_step

CONFIG = Config("drawn", image_size=8, batch_size=16, mixup=0.3, ema=0.9)
SETTINGS = StepSettings.of(CONFIG)
FORMS = ("default", "cpu", "cuda", "tpu")
UNEVEN = 21  # images to evaluate, no multiple of the batch


class Net(nn.Module):
    """All layers of the nets, and dropout."""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(BatchNorm, use_running_average=not train, momentum=0.9)
        x = swish(norm()(Conv(16)(channels_first(images))))
        x = norm()(Depthwise(3, 2, ((0, 1), (0, 1)))(x))
        x = Pointwise(16, min_channels=4, norm=norm, activation=swish, axis=0)(x)
        x = nn.Dropout(0.3, deterministic=not train)(x.mean((2, 3)).T)
        return nn.Dense(3)(x)


def main(out: Path, folder: Path, first: int, last: int) -> None:
    run = make_run()
    parts = CONFIG, run.model, run.optimizer
    init = first_state(*parts)
    step, found = partial(train_step, settings=SETTINGS), {}
    if not first:
        found = before_the_first_step(run, init(run.keys["init"]))
    jax.config.update("jax_enable_x64", True)
    like = jax.tree.map(in_float64, expected_state(*parts))
    folder.mkdir(exist_ok=True)
    with Checkpoints(folder, like) as checkpoints:
        state = checkpoints.restore_latest()
        if state is None:
            state = jax.tree.map(in_float64, init(run.keys["init"]))
        assert state.step == first
        batches = itertools.chain.from_iterable(map(epoch_of(run), itertools.count()))
        numbered = enumerate(itertools.islice(batches, last), start=1)
        for number, (_, batch) in itertools.islice(numbered, first, None):
            state, loss = step(state, *batch, run.keys["step"])
            found[f"loss {number}"] = loss
            if number % 10 == 0:
                found |= fetched(f"state {number}", state.replace(metrics=None))
        checkpoints.save(state)
    if not first:
        metrics = validate(run, state)
        images = run.dataset.images[:UNEVEN]
        evaluated = partial(eval_step, run.model, state.tested_variables)
        logits = evaluated(images, None, settings=EvalSettings(8, 8))
        found["trained"] = [state.metrics.images, state.metrics.correct]
        found |= {"evaluated": list(metrics.values()), "predicted": logits.argmax(-1)}
    np.savez(out, **{name: np.asarray(value) for name, value in found.items()})


def make_run() -> Run:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 80).astype(np.int32)
    images = rng.integers(0, 100, (80, 8, 8, 3)).astype(np.uint8)
    images[np.arange(80), :, :, labels] += 120
    everything = np.arange(80)
    data = Dataset(
        "drawn",
        tuple("abc"),
        images,
        labels,
        everything,
        everything[:UNEVEN],
        everything,
        [],
    )
    return Run(CONFIG, data, Net())


def epoch_of(run: Run) -> Callable[[int], Iterator]:
    """An epoch's number -> its batches."""

    def batches(epoch: int) -> Iterator:
        order = jax.random.fold_in(run.keys["order"], epoch)
        return training_batches(run.dataset, CONFIG.batch_size, order)

    return batches


def before_the_first_step(run: Run, state: TrainState) -> dict[str, jax.Array]:
    """A batch, what is random in its step, and its loss and gradient in float32."""
    indices, (images, labels) = next(epoch_of(run)(0))
    key = run.keys["step"]
    augmented = jax.jit(lambda x, k: augment(x, k, CONFIG.augmentation, 8))(images, key)
    mixed, share = mix(augmented, key, CONFIG.mixup, CONFIG.cutmix)
    gradient = jax.jit(partial(loss_gradient, smoothing=0.1))
    (loss, _), grads = gradient(state, mixed, labels, share, key=key)
    dropped = nn.Dropout(0.3, deterministic=False)
    dropped = dropped.apply({}, jnp.ones_like(mixed), rngs={"dropout": key})
    found = {}
    if jax.device_count() > 1:
        step = state, images, labels, key
        found = {f"exchanges {of}": exchanges(of, *step) for of in FORMS}
    found |= {"indices": indices, "batch": gathered(images), "labels": labels}
    found |= {"augmented": mixed, "dropped": dropped, "loss": loss}
    return found | fetched("gradient", grads)


def exchanges(platform: str, *operands: jax.Array) -> list[str]:
    """The kinds of exchanges between devices in the optimised train step, whose
    operations have the forms for a platform."""
    with form(platform):
        program = train_step.lower(*operands, settings=SETTINGS).compile().as_text()
    kinds = r" (all-\w+|reduce-scatter|collective-\w+)(?:-start)?\("
    return sorted(set(re.findall(kinds, program)))


def in_float64(x: jax.Array | jax.ShapeDtypeStruct) -> jax.Array | jax.ShapeDtypeStruct:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    if isinstance(x, jax.ShapeDtypeStruct):
        return x.update(dtype=jnp.float64)
    return x.astype(jnp.float64)


def fetched(what: str, tree: object) -> dict[str, np.ndarray]:
    """All arrays of a tree, now: the next step overwrites them."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
    return {what + jax.tree_util.keystr(path): leaf for path, leaf in leaves}


if __name__ == "__main__":
    out, folder, first, last = sys.argv[1:]
    main(Path(out), Path(folder), int(first), int(last))
