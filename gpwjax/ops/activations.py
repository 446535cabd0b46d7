"""Elementwise functions of maps."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from gpwjax.ops.platforms import by_row, operation_of, with_own_gradient

Activation = Callable[[jax.Array], jax.Array]


def activation(
    function: Activation, slope: Activation, **slopes: Activation
) -> Activation:
    """A function of maps.

    Args:
      function: elementwise.
      slope: its derivative; the gradient saves x alone.
      **slopes: the derivative as it is computed on other platforms.
    """

    def gradient(slope: Activation, dy: jax.Array, x: jax.Array) -> tuple[jax.Array]:
        return (dy * slope(x),)

    others = {platform: partial(gradient, f) for platform, f in slopes.items()}
    gradients = by_row(partial(gradient, slope), **others)
    return with_own_gradient(by_row(function), gradients)


def relu_slope(x: jax.Array) -> jax.Array:
    return (x > 0).astype(x.dtype)


def relu6_slope(x: jax.Array) -> jax.Array:
    """A half at 0 and 6, as JAX has it."""
    return 0.5 * (jax.lax.sign(x) - jax.lax.sign(x - 6))


def hard_swish_slope(x: jax.Array) -> jax.Array:
    return jax.nn.hard_sigmoid(x) + x / 6 * relu6_slope(x + 3)


def swish_slope(x: jax.Array, sigmoid: Activation = jax.nn.sigmoid) -> jax.Array:
    share = sigmoid(x)
    return share * (1 + x * (1 - share))


def other_sigmoid(x: jax.Array) -> jax.Array:
    """By another formula, or XLA would find it in the forward pass and keep it from
    there."""
    return 0.5 + 0.5 * jnp.tanh(0.5 * x)


relu = activation(jax.nn.relu, relu_slope)
relu6 = activation(jax.nn.relu6, relu6_slope)
hard_swish = activation(jax.nn.hard_swish, hard_swish_slope)
gelu = with_own_gradient(by_row(partial(jax.nn.gelu, approximate=False)))
# XLA:GPU computes the sigmoid inside of what uses it.
swish = activation(
    jax.nn.swish, partial(swish_slope, sigmoid=other_sigmoid), cuda=swish_slope
)
add = operation_of(by_row(jnp.add))  # of arrays of one shape
