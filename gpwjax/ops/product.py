"""The grouped pointwise convolution as a matrix product for each group."""

import math

import jax
import jax.numpy as jnp

from gpwjax.ops.arrays import widened
from gpwjax.ops.interleave import interleave
from gpwjax.ops.platforms import by_row, operation_of


def plain(
    x: jax.Array, kernel: jax.Array, *, before: int = 1, after: int = 1
) -> jax.Array:
    """Grouped pointwise convolution: (Cin, ...) -> (F, ...).

    Args:
      x: maps or vectors, their channels first.
      kernel: (groups, Cin / groups, F / groups), in float32 for a gradient of float32.
      before: step of an interleave of the input's channels; 1: none.
      after: step of an interleave of the output's channels, which is `early` or else
        not here; 1: none.
    """
    groups, inputs, outputs = kernel.shape
    grouped = interleave(x, before, axis=0).reshape(groups, inputs, *x.shape[1:])
    return multiply(kernel, grouped).reshape(groups * outputs, *x.shape[1:])


def of_rows(x: jax.Array, kernel: jax.Array, **steps: int) -> jax.Array:
    """A batch of products of matrices, (Cin / groups, M) each."""
    rows = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    y = plain(rows, kernel, **steps)
    return y.reshape(y.shape[0], *x.shape[1:])


def of_all_groups(
    x: jax.Array, kernel: jax.Array, *, before: int = 1, after: int = 1
) -> jax.Array:
    """One product with the block-diagonal matrix of all groups.

    Its rows and columns are interleaved, not the maps: a TPU multiplies by the zeros in
    less time than it moves a map.
    """
    return multiply(block_diagonal(kernel, before, after), x)


def block_diagonal(kernel: jax.Array, before: int, after: int) -> jax.Array:
    """(groups, i, o) -> (groups * i, groups * o), with zeros between the groups.

    Args:
      kernel: of all groups.
      before: step of an interleave of the channels that the matrix is multiplied by.
      after: step of an interleave of its columns.
    """
    groups, inputs, outputs = kernel.shape
    if groups == 1:
        return kernel[0]
    rows = kernel.reshape(groups * inputs, outputs)
    # Repeated by a product, whose gradient is one too, and no sum over short rows.
    repeat = interleave(jnp.tile(jnp.eye(outputs, dtype=rows.dtype), groups), after)
    group_of_row = jnp.arange(groups).repeat(inputs)
    group_of_column = interleave(jnp.arange(groups).repeat(outputs), after)
    matrix = jnp.where(
        group_of_row[:, None] == group_of_column,
        jnp.matmul(rows, repeat, precision="highest"),
        0,
    )
    return interleave(matrix, groups * inputs // before, axis=0)


def multiply(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Products of matrices: (..., i, o), (..., i, *pixels) -> (..., o, *pixels).

    In the dtype of x. The gradient of the kernel is summed in its own dtype, over chips
    too.
    """
    return (
        matmul(kernel, x) if kernel.dtype == x.dtype else with_wide_gradient(kernel, x)
    )


def matmul(kernel: jax.Array, x: jax.Array) -> jax.Array:
    # einsum("gio,gi...->go..."), which takes JAX several times as long to trace.
    i, groups = kernel.ndim - 2, tuple(range(kernel.ndim - 2))
    dimensions = ((i,), (i,)), (groups, groups)
    return jax.lax.dot_general(kernel.astype(x.dtype), x, dimensions)


with_wide_gradient = jax.custom_vjp(matmul)


def forward(
    kernel: jax.Array, x: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return matmul(kernel, x), (kernel, x)


def backward(
    saved: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    kernel, x = saved
    i, groups = kernel.ndim - 2, tuple(range(kernel.ndim - 2))
    pixels = tuple(range(i + 1, x.ndim))
    dkernel = jax.lax.dot_general(
        x,
        dy,
        ((pixels, pixels), (groups, groups)),
        preferred_element_type=widened(x).dtype,
    )
    dimensions = ((i + 1,), (i,)), (groups, groups)
    dx = jax.lax.dot_general(kernel.astype(x.dtype), dy, dimensions)
    return dkernel.astype(kernel.dtype), dx


with_wide_gradient.defvjp(forward, backward)

product = operation_of({"default": plain, "cpu": of_rows, "tpu": of_all_groups})


@by_row
def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """A number of `bias`, (C,), for each channel of (C, ...)."""
    return x + jnp.expand_dims(bias, range(1, x.ndim))
