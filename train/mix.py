"""Mixup and cutmix: training images made of two, and their labels.

Each image is mixed with its mirror image in the batch, the first with the last and so
on: the batches are random as they are.
"""

import jax
import jax.numpy as jnp
import optax


def mix(
    images: jax.Array, key: jax.Array, mixup_alpha: float, cutmix_alpha: float
) -> tuple[jax.Array, jax.Array]:
    """Mixes the images (N, H, W, C) of a batch, and gives each one's own share (N,).

    An alpha of 0 leaves the method out; of both methods a batch gets one by chance.
    """
    choice_key, mixup_key, cutmix_key = jax.random.split(key, 3)
    if mixup_alpha and cutmix_alpha:
        return jax.lax.cond(
            jax.random.bernoulli(choice_key),
            lambda: mixup(images, mixup_key, mixup_alpha),
            lambda: cutmix(images, cutmix_key, cutmix_alpha),
        )
    if mixup_alpha:
        return mixup(images, mixup_key, mixup_alpha)
    if cutmix_alpha:
        return cutmix(images, cutmix_key, cutmix_alpha)
    return images, jnp.ones(len(images))


def mixup(
    images: jax.Array, key: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    """Blends each image with another (Zhang et al. 2018, mixup).

    An image's own share is drawn from Beta(alpha, alpha).
    """
    share = jax.random.beta(key, alpha, alpha, (len(images),))
    return blend(images, images[::-1], share[:, None, None, None]), share


def cutmix(
    images: jax.Array, key: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    """Pastes a box of another image into each (Yun et al. 2019, CutMix).

    The box's share of the area is drawn from Beta(alpha, alpha), its middle from the
    whole image; what remains of the image is its own share.
    """
    area_key, middle_key = jax.random.split(key)
    area = jax.random.beta(area_key, alpha, alpha, (len(images),))
    middles = jax.random.uniform(middle_key, (2, len(images)))
    height, width = images.shape[1:3]
    rows = interval(middles[0], jnp.sqrt(area), height)
    columns = interval(middles[1], jnp.sqrt(area), width)
    box = rows[:, :, None] & columns[:, None, :]
    return jnp.where(box[..., None], images[::-1], images), 1 - box.mean((1, 2))


def interval(middle: jax.Array, length: jax.Array, size: int) -> jax.Array:
    """(N, size): which pixels of an axis lie in an interval; middle (N,) and length
    (N,) are shares of the axis."""
    pixels = (jnp.arange(size) + 0.5) / size
    return jnp.abs(pixels - middle[:, None]) < length[:, None] / 2


def make_targets(
    labels: jax.Array, share: jax.Array, classes: int, smoothing: float
) -> jax.Array:
    """What the net should say of mixed images, (N, classes) probabilities.

    Args:
      labels: (N,) of the images.
      share: (N,) each image's own, as `mix` gives it; the rest is the other's.
      classes: how many there are.
      smoothing: share of each target that is spread over all classes (Szegedy et al.
        2016, Section 7).
    """
    own = jax.nn.one_hot(labels, classes)
    return optax.smooth_labels(blend(own, own[::-1], share[:, None]), smoothing)


def blend(first: jax.Array, second: jax.Array, share: jax.Array) -> jax.Array:
    return share * first + (1 - share) * second
