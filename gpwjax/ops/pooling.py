"""Means over pixels, and what is done with them."""

import math

import jax
from flax import linen as nn

from gpwjax.ops.arrays import widened
from gpwjax.ops.platforms import by_image, with_own_gradient


def plain_means(x: jax.Array) -> jax.Array:
    """Means over the pixels of each image: (C, N, H, W) -> (C, N, 1, 1)."""
    return x.mean((2, 3), keepdims=True)


def means_of_rows(x: jax.Array) -> jax.Array:
    rows = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
    return rows.mean(2)[..., None, None]


image_means = with_own_gradient({"default": plain_means, "cpu": means_of_rows})


def times(x: jax.Array, factors: jax.Array) -> jax.Array:
    """(C, N, H, W), multiplied by a factor for each channel of an image."""
    return x * factors


times_images = with_own_gradient(by_image(times))


def add_times(x: jax.Array, y: jax.Array, factors: jax.Array) -> jax.Array:
    """The sum x + y of (C, N, H, W), where y is multiplied by (1, N, 1, 1)."""
    return x + y * factors


add_images = with_own_gradient(by_image(add_times))


def halved(x: jax.Array) -> jax.Array:
    """Means of 2x2 pixels: (C, N, H, W) -> (C, N, H // 2, W // 2)."""
    return nn.avg_pool(x[..., None], (2, 2), strides=(2, 2))[..., 0]


def global_average(x: jax.Array) -> jax.Array:
    """Means over the pixels, in float32 at least: (N, H, W, C) -> (N, C)."""
    return widened(x).mean((1, 2))
