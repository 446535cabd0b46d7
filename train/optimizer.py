"""The optimizers, and the paper's cycle of the learning rate (Section 4)."""

import jax
import jax.numpy as jnp
import optax

from train.config import Config


def make_optimizer(
    config: Config, steps_per_epoch: int
) -> optax.GradientTransformationExtraArgs:
    """The optimizer that the configuration names, with the learning-rate cycle."""

    def schedule(step: jax.Array) -> jax.Array:
        return learning_rate(step // steps_per_epoch, config.lr, config.cycle_epochs)

    if config.optimizer == "adam":
        return optax.adam(schedule)
    # Keras adds epsilon to the root, optax inside it unless told otherwise.
    return optax.rmsprop(schedule, decay=0.9, eps=1e-7, eps_in_sqrt=False)


def learning_rate(
    epoch: jax.typing.ArrayLike, lr: float = 1e-3, cycle_epochs: int = 25
) -> jax.Array:
    """The learning rate of an epoch (from 0), constant within the epoch.

    The paper's cycle has 25 epochs: it rises by lr / 2 an epoch from lr to 4 * lr in
    epoch 7, and falls by 15% an epoch from there. Cycles of another length are
    stretched.
    """
    e = (jnp.asarray(epoch) % cycle_epochs) * (25 / cycle_epochs)
    return lr * jnp.where(e < 7, jnp.minimum(1 + 0.5 * e, 4), 4 * 0.85 ** (e - 7))
