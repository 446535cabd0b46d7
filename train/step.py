"""One step of training or evaluation: pure and jitted."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.training import train_state

from train.augment import augment
from train.config import Augmentation


class Metrics(struct.PyTreeNode):
    """Sums over images; they stay on the device until a log line needs them."""

    loss: jax.Array
    correct: jax.Array
    images: jax.Array

    @classmethod
    def zero(cls) -> "Metrics":
        return cls(loss=jnp.zeros(()), correct=jnp.zeros(()), images=jnp.zeros(()))

    def means(self) -> dict[str, float]:
        """Mean loss and share of right answers."""
        sums = jax.device_get(self)
        return {
            "loss": float(sums.loss / sums.images),
            "accuracy": float(sums.correct / sums.images),
        }

    def add(self, losses: jax.Array, correct: jax.Array, weights: Any = 1) -> "Metrics":
        """Adds losses (N,), and whether each answer was right (N,)."""
        weights = jnp.broadcast_to(weights, losses.shape)
        return Metrics(
            loss=self.loss + (losses * weights).sum(),
            correct=self.correct + (correct * weights).sum(),
            images=self.images + weights.sum(),
        )


class TrainState(train_state.TrainState):
    """Parameters, optimizer state and step, and two things more.

    Attributes:
      batch_stats: running means and variances of batch normalisation.
      metrics: of the steps of this epoch so far.
    """

    batch_stats: Any
    metrics: Metrics


@partial(
    jax.jit, donate_argnames="state", static_argnames=("augmentation", "image_size")
)
def train_step(
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    key: jax.Array,
    *,
    augmentation: Augmentation,
    image_size: int,
) -> tuple[TrainState, jax.Array]:
    """One update on a batch of images (N, h, w, 3) uint8 and labels (N,).

    Returns the new state and the loss of the batch.

    `key` is the run's; what is random in a step depends on it and on the number of the
    step alone, so a run that was stopped goes on as if it had not been.
    """
    augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
    images = augment(as_input(images, image_size), augment_key, augmentation)

    def mean_loss(params: Any) -> tuple[jax.Array, tuple]:
        logits, updated = state.apply_fn(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), (losses, logits, updated["batch_stats"])

    (loss, (losses, logits, batch_stats)), grads = jax.value_and_grad(
        mean_loss, has_aux=True
    )(state.params)
    metrics = state.metrics.add(losses, logits.argmax(-1) == labels)
    state = state.apply_gradients(grads=grads, batch_stats=batch_stats, metrics=metrics)
    return state, loss


@partial(jax.jit, static_argnames="image_size")
def eval_step(
    state: TrainState,
    metrics: Metrics,
    images: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    image_size: int,
) -> tuple[Metrics, jax.Array]:
    """Adds a batch to `metrics`, and gives the predicted classes (N,).

    `weights` is 1 for an image and 0 for what fills up the last batch.
    """
    logits = state.apply_fn(
        {"params": state.params, "batch_stats": state.batch_stats},
        as_input(images, image_size),
        train=False,
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    predicted = logits.argmax(-1)
    return metrics.add(losses, predicted == labels, weights), predicted


def as_input(images: jax.Array, image_size: int) -> jax.Array:
    """uint8 images (N, h, w, C) as floats in [0, 1] of the size that the net sees.

    Enlarged by nearest neighbour, as the paper enlarges CIFAR's images.
    """
    images = images.astype(jnp.float32) / 255
    shape = (images.shape[0], image_size, image_size, images.shape[-1])
    return jax.image.resize(images, shape, "nearest")
