"""Class activation maps of all classes at once, without a gradient.

For other programs, which run a net forwards only. The gradient of `explain` at the
pixels of a map becomes a derivative along them, which is no harder for any number of
classes.
"""

from collections.abc import Callable, Mapping
from typing import Any

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

    def logits_along(pixel: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The logits, and how much they grow with the means in a pixel's direction."""
        return jax.jvp(
            lambda means: head(model, variables, images, means[:, None, None]),
            (top.mean((1, 2)),),
            (pixel,),
        )

    along_all = jax.vmap(logits_along, in_axes=1, out_axes=(None, 1))
    logits, growth = along_all(top.reshape(n, h * w, channels))
    growth = growth / (h * w)  # a pixel's share of the means
    maps = nn.relu(growth - growth.mean(-1, keepdims=True))
    return logits, maps.reshape(n, h, w, -1)


def head(
    model: nn.Module, variables: Mapping, images: jax.Array, top: jax.Array
) -> jax.Array:
    """The logits that a net finds for a last map (N, h, w, C), whatever the images."""

    def replace_features(call: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name == "features":
            return {"top": top}
        return call(*args, **kwargs)

    with nn.intercept_methods(replace_features):
        return model.apply(variables, images, train=False)
