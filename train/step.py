"""One step of training or evaluation: pure and jitted."""

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from gpwjax.compilation import QUICK_SUMS
from gpwjax.ops.arrays import widened
from gpwjax.pieces import in_pieces

from .augment import as_input, augment
from .config import NO_AUGMENTATION, Augmentation, Config
from .mix import blend, make_targets, mix
from .state import Metrics, TrainState

if TYPE_CHECKING:
    from .teacher import Teacher


class StepSettings(NamedTuple):
    """The settings of `Config` that a train step depends on."""

    image_size: int
    augmentation: Augmentation
    mixup: float
    cutmix: float
    label_smoothing: float
    ema: float
    on_nan: str

    @classmethod
    def of(cls, config: Config) -> "StepSettings":
        return cls(*(getattr(config, name) for name in cls._fields))


class EvalSettings(NamedTuple):
    """What the answers to stored images depend on, but for the net.

    Attributes:
      stored_size: height and width to which images are brought first, as those that
        the net was trained on were stored, pixels.
      image_size: as the net sees them.
      augmentation: random changes.
      mirror: whether the answer is the mean of those to an image and to its mirror
        image.
    """

    stored_size: int
    image_size: int
    augmentation: Augmentation = NO_AUGMENTATION
    mirror: bool = False


def with_fixed_norms(parts: Collection[str]) -> Callable[..., Any]:
    """Has batch normalisation in these parts of a net use its running statistics.

    As in the test, since these do not follow the batches' there. It is an interceptor
    for `nn.intercept_methods`.
    """

    def intercept(call: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if (
            hasattr(module, "use_running_average")
            and context.method_name == "__call__"
            and not parts.isdisjoint(module.path[:1])
        ):
            fixed = module.clone(parent=None, use_running_average=True)
            return fixed.apply(module.variables, *args, **kwargs)
        return call(*args, **kwargs)

    return intercept


@partial(
    jax.jit,
    donate_argnames="state",
    static_argnames="settings",
    compiler_options=QUICK_SUMS,
)
def train_step(
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    key: jax.Array,
    class_weights: jax.Array | None = None,
    teacher: "Teacher | None" = None,
    *,
    settings: StepSettings,
) -> tuple[TrainState, jax.Array]:
    """One update on a batch of images (N, h, w, 3) uint8 and labels (N,).

    `class_weights` (classes,) weigh the images in the loss; None: all are equal.
    `teacher`, if any, sees the same images, and its answers are learned too.

    Returns the new state and the loss of the batch, NaN where its gradient is not
    finite. With `on_nan="skip-batch"` such a batch changes nothing but the step.

    `key` is the run's; what is random in a step depends on it and on the number of the
    step alone, so a run that was stopped goes on as if it had not been.
    """
    augment_key, mix_key, dropout_key = jax.random.split(
        jax.random.fold_in(key, state.step), 3
    )
    images = augment(images, augment_key, settings.augmentation, settings.image_size)
    images, share = mix(images, mix_key, settings.mixup, settings.cutmix)

    weights = None
    if class_weights is not None:
        own = class_weights[labels]
        weights = blend(own, own[::-1], share)
    (loss, (losses, correct, batch_stats)), grads = loss_gradient(
        state,
        images,
        labels,
        share,
        dropout_key,
        settings.label_smoothing,
        weights,
        teacher,
    )
    loss = jnp.where(jnp.isfinite(optax.tree.norm(grads)), loss, jnp.nan)
    metrics = state.metrics.add(losses, correct)
    new = state.apply_gradients(grads=grads, batch_stats=batch_stats, metrics=metrics)
    new = new.replace(ema=averaged(new, settings.ema))
    if settings.on_nan == "skip-batch":
        kept = state.replace(step=new.step)
        new = jax.tree.map(partial(jnp.where, jnp.isfinite(loss)), new, kept)
    return new, loss


def loss_gradient(
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    share: jax.Array,
    key: jax.Array,
    smoothing: float,
    weights: jax.Array | None = None,
    teacher: "Teacher | None" = None,
) -> tuple[tuple[jax.Array, tuple[jax.Array, jax.Array, dict]], dict]:
    """The mean loss of a batch and its gradient.

    Args:
      images: (N, H, W, 3) as the net sees them.
      labels, share, smoothing: as `make_targets` has them.
      key: of the dropout.
      weights: (N,) of the images in the mean; None: all are equal.
      teacher: whose answers are a part of the losses; None: there is none.

    Returns:
      (mean loss, (losses (N,), which answers were right (N,), the new batch
      statistics)), gradient.
    """
    taught = None if teacher is None else teacher.answers(images)

    def mean_loss(params: Any) -> tuple[jax.Array, tuple]:
        logits, updated = state.apply_fn(
            state.replace(params=params).variables,
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        batch_stats = {part: updated["batch_stats"][part] for part in state.batch_stats}
        targets = make_targets(labels, share, logits.shape[-1], smoothing)
        losses = optax.softmax_cross_entropy(logits, targets)
        if teacher is not None:
            losses = teacher.blended(losses, logits, taught)
        correct = logits.argmax(-1) == targets.argmax(-1)
        weighted = losses if weights is None else losses * weights
        return weighted.mean(), (losses, correct, batch_stats)

    frozen = set(state.frozen.get("params", ()))
    # Around the gradient too: with `remat` it applies the net once more.
    with nn.intercept_methods(with_fixed_norms(frozen)):
        return jax.value_and_grad(mean_loss, has_aux=True)(state.params)


def averaged(state: TrainState, decay: float) -> dict[str, Any] | None:
    """The running mean of what is trained, after a step; None where `decay` is 0.

    In the first steps it forgets more quickly: else it would be of the first weights.
    """
    if not decay:
        return None
    decay = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    return optax.incremental_update(state.trained, state.ema, 1 - decay)


def net_logits(net: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """The logits (N, classes) of images, which may be spread over the devices."""
    # Of several devices each has its piece already.
    return in_pieces(net, images) if jax.device_count() == 1 else net(images)


@partial(jax.jit, static_argnames=("model", "settings"))
def eval_step(
    model: nn.Module,
    variables: dict,
    images: jax.Array,
    key: jax.Array | None,
    *,
    settings: EvalSettings,
) -> jax.Array:
    """Logits (N, classes), float32 or more, of a batch of images (N, h, w, 3) uint8.

    With `mirror` they are those of the mean of the probabilities. `key` is of the
    augmentation; None: there is none.
    """
    if images.shape[1] != settings.stored_size:
        images = as_input(images, settings.stored_size)
    images = augment(images, key, settings.augmentation, settings.image_size)
    net = partial(model.apply, variables, train=False)
    logits = widened(net_logits(net, images))
    if not settings.mirror:
        return logits
    mirrored = widened(net_logits(net, images[:, :, ::-1]))
    # Up to a constant, which changes no probability.
    return jnp.logaddexp(*map(jax.nn.log_softmax, (logits, mirrored)))


@jax.jit
def add_answers(
    metrics: Metrics, logits: jax.Array, labels: jax.Array, weights: jax.Array
) -> Metrics:
    """Adds the answers to a batch, whose weights are 1 for an image and 0 for what
    fills up the last batch."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return metrics.add(losses, logits.argmax(-1) == labels, weights)
