"""Elementwise functions of maps."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from gpwjax.ops.platforms import by_row

Activation = Callable[[jax.Array], jax.Array]


@jax.custom_vjp
def lean_swish(x: jax.Array) -> jax.Array:
    """x * sigmoid(x). Its gradient saves x alone, not the sigmoid too."""
    return jax.nn.swish(x)


def lean_swish_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.nn.swish(x), x


def lean_swish_backward(x: jax.Array, dy: jax.Array) -> tuple[jax.Array]:
    # The sigmoid by another formula, or XLA would find it in the forward pass and keep
    # it from there.
    share = 0.5 + 0.5 * jnp.tanh(0.5 * x)
    return (dy * share * (1 + x * (1 - share)),)


lean_swish.defvjp(lean_swish_forward, lean_swish_backward)

relu, relu6, hard_swish = map(by_row, (jax.nn.relu, jax.nn.relu6, jax.nn.hard_swish))
gelu = by_row(partial(jax.nn.gelu, approximate=False))
# XLA:GPU computes JAX's own gradient inside of what uses it.
swish = by_row(lean_swish, cuda=jax.nn.swish)
add = by_row(jnp.add)  # of arrays of one shape
