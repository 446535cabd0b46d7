"""The optimizers, and the learning rate from step to step."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from .config import WEIGHT_DECAY, Config


def make_optimizer(
    config: Config, rate: optax.Schedule
) -> optax.GradientTransformationExtraArgs:
    """The optimizer that the configuration names, with a learning rate of
    `make_schedule`."""
    decay = config.weight_decay
    if decay is None:
        decay = WEIGHT_DECAY.get(config.optimizer)
    match config.optimizer:
        case "rmsprop":
            # Keras adds epsilon to the root, optax inside it unless told otherwise.
            optimizer = optax.rmsprop(rate, decay=0.9, eps=1e-7, eps_in_sqrt=False)
        case "adam":
            optimizer = optax.adam(rate)
        case "adamw":
            optimizer = optax.adamw(rate, weight_decay=decay, mask=kernels)
        case "sgd":
            optimizer = optax.chain(
                optax.add_decayed_weights(decay, kernels),
                optax.sgd(rate, config.momentum, nesterov=True),
            )
    if config.clip_norm:
        return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
    return optimizer


def kernels(params: Any) -> Any:
    """Which parameters decay: no biases, and no scales of batch normalisation."""
    return jax.tree.map(lambda array: array.ndim > 1, params)


def make_schedule(config: Config, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate of a step (from 0)."""
    if config.schedule == "cosine":
        # The step after the warm-up has the highest rate; the one after the last, 0.
        return optax.warmup_cosine_decay_schedule(
            init_value=0.0 if config.warmup_epochs else config.lr,
            peak_value=config.lr,
            warmup_steps=config.warmup_epochs * steps_per_epoch,
            decay_steps=config.epochs * steps_per_epoch,
        )

    def cycle(step: jax.typing.ArrayLike) -> jax.Array:
        return learning_rate(step // steps_per_epoch, config.lr, config.cycle_epochs)

    return cycle


def learning_rate(
    epoch: jax.typing.ArrayLike, lr: float = 1e-3, cycle_epochs: int = 25
) -> jax.Array:
    """The paper's learning rate of an epoch (from 0), constant within it (Section 4).

    The paper's cycle has 25 epochs: it rises by lr / 2 an epoch from lr to 4 * lr in
    epoch 7, and falls by 15% an epoch from there. Cycles of another length are
    stretched.
    """
    e = (jnp.asarray(epoch) % cycle_epochs) * (25 / cycle_epochs)
    return lr * jnp.where(e < 7, jnp.minimum(1 + 0.5 * e, 4), 4 * 0.85 ** (e - 7))
