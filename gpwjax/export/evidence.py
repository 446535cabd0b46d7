"""Class activation maps of all classes at once, without a gradient.

For other programs, which run a net forwards only. The gradient of `explain` at the
pixels of a map becomes a derivative along them, which is no harder for any number of
classes.
"""

from collections.abc import Mapping

import jax
from flax import linen as nn


def logits_and_maps(
    model: nn.Module, variables: Mapping, images: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The logits (N, classes) of images (N, H, W, 3), and a map for each class.

    Returns:
      The logits, and the maps (N, h, w, classes), at least 0: those of
      `class_activation_map` before they are scaled to a maximum of 1.
    """
    top = model.apply(variables, images, train=False, method="features")["top"]
    n, h, w, channels = top.shape

    def head(means: jax.Array) -> jax.Array:
        """The logits of maps of one pixel each, (N, C)."""
        maps = means[:, None, None]
        return model.apply(variables, maps, train=False, method="classify")

    def logits_along(pixel: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The logits, and how much they grow with the means in a pixel's direction."""
        return jax.jvp(head, (top.mean((1, 2)),), (pixel,))

    along_all = jax.vmap(logits_along, in_axes=1, out_axes=(None, 1))
    logits, growth = along_all(top.reshape(n, h * w, channels))
    growth = growth / (h * w)  # a pixel's share of the means
    maps = nn.relu(growth - growth.mean(-1, keepdims=True))
    return logits, maps.reshape(n, h, w, -1)
