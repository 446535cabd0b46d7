"""One step of training or evaluation: pure and jitted."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.training import train_state

from train.augment import augment
from train.config import NO_AUGMENTATION, Augmentation, Config
from train.mix import make_targets, mix


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
    """Parameters, optimizer state and step, and three things more.

    Attributes:
      batch_stats: running means and variances of batch normalisation.
      metrics: of the steps of this epoch so far.
      ema: running mean of `variables`; None: none is kept.
    """

    batch_stats: Any
    metrics: Metrics
    ema: dict[str, Any] | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """Those of the net after the last step."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def tested_variables(self) -> dict[str, Any]:
        """What is validated, tested and saved: the running mean where there is one."""
        return self.variables if self.ema is None else self.ema


@partial(jax.jit, donate_argnames="state", static_argnames="config")
def train_step(
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    key: jax.Array,
    *,
    config: Config,
) -> tuple[TrainState, jax.Array]:
    """One update on a batch of images (N, h, w, 3) uint8 and labels (N,).

    Returns the new state and the loss of the batch, NaN where its gradient is not
    finite. With `on_nan="skip-batch"` such a batch changes nothing but the step.

    `key` is the run's; what is random in a step depends on it and on the number of the
    step alone, so a run that was stopped goes on as if it had not been.
    """
    augment_key, mix_key, dropout_key = jax.random.split(
        jax.random.fold_in(key, state.step), 3
    )
    images = augment(images, augment_key, config.augmentation, config.image_size)
    images, share = mix(images, mix_key, config.mixup, config.cutmix)

    def mean_loss(params: Any) -> tuple[jax.Array, tuple]:
        logits, updated = state.apply_fn(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        classes = logits.shape[-1]
        targets = make_targets(labels, share, classes, config.label_smoothing)
        losses = optax.softmax_cross_entropy(logits, targets)
        correct = logits.argmax(-1) == targets.argmax(-1)
        return losses.mean(), (losses, correct, updated["batch_stats"])

    (loss, (losses, correct, batch_stats)), grads = jax.value_and_grad(
        mean_loss, has_aux=True
    )(state.params)
    loss = jnp.where(jnp.isfinite(optax.tree.norm(grads)), loss, jnp.nan)
    metrics = state.metrics.add(losses, correct)
    new = state.apply_gradients(grads=grads, batch_stats=batch_stats, metrics=metrics)
    new = new.replace(ema=averaged(new, config.ema))
    if config.on_nan == "skip-batch":
        kept = state.replace(step=new.step)
        new = jax.tree.map(partial(jnp.where, jnp.isfinite(loss)), new, kept)
    return new, loss


def averaged(state: TrainState, decay: float) -> dict[str, Any] | None:
    """The running mean of the variables after a step; None where `decay` is 0.

    In the first steps it forgets more quickly: else it would be of the first weights.
    """
    if not decay:
        return None
    decay = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    return optax.incremental_update(state.variables, state.ema, 1 - decay)


@partial(jax.jit, static_argnames=("image_size", "augmentation"))
def eval_step(
    state: TrainState,
    metrics: Metrics,
    images: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    key: jax.Array,
    *,
    image_size: int,
    augmentation: Augmentation = NO_AUGMENTATION,
) -> tuple[Metrics, jax.Array]:
    """Adds a batch to `metrics`, and gives the predicted classes (N,).

    `weights` is 1 for an image and 0 for what fills up the last batch; `key` is of the
    augmentation, if there is one.
    """
    images = augment(images, key, augmentation, image_size)
    logits = state.apply_fn(state.tested_variables, images, train=False)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    predicted = logits.argmax(-1)
    return metrics.add(losses, predicted == labels, weights), predicted
