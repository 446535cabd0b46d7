"""The grouped pointwise convolution as a matrix product for each group."""

import math

import jax
import jax.numpy as jnp

from gpwjax.ops.interleave import interleave
from gpwjax.ops.platforms import by_row, operation_of


def plain(
    x: jax.Array, kernel: jax.Array, *, before: int = 1, after: int = 1
) -> jax.Array:
    """Grouped pointwise convolution: (Cin, ...) -> (F, ...).

    Args:
      x: maps or vectors, their channels first.
      kernel: (groups, Cin / groups, F / groups).
      before: step of an interleave of the input's channels; 1: none.
      after: step of an interleave of the output's channels, which is `early` or else
        not here; 1: none.
    """
    groups, inputs, outputs = kernel.shape
    grouped = interleave(x, before, axis=0).reshape(groups, inputs, *x.shape[1:])
    # einsum("gi...,gio->go..."), which takes JAX several times as long to trace.
    y = jax.lax.dot_general(kernel, grouped, (((1,), (1,)), ((0,), (0,))))
    return y.reshape(groups * outputs, *x.shape[1:])


def of_rows(x: jax.Array, kernel: jax.Array, **steps: int) -> jax.Array:
    """A batch of products of matrices, (Cin / groups, M) each."""
    rows = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    y = plain(rows, kernel, **steps)
    return y.reshape(y.shape[0], *x.shape[1:])


product = operation_of({"default": plain, "cpu": of_rows})


@by_row
def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """A number of `bias`, (C,), for each channel of (C, ...)."""
    return x + jnp.expand_dims(bias, range(1, x.ndim))
