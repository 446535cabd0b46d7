"""The grouped pointwise convolution as a matrix product for each group."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpwjax.ops.arrays import widened
from gpwjax.ops.interleave import interleave
from gpwjax.ops.platforms import by_row, with_own_gradient


def plain(
    x: jax.Array, kernel: jax.Array, *, before: int = 1, after: int = 1
) -> jax.Array:
    """Grouped pointwise convolution: (Cin, ...) -> (F, ...).

    A batch of products of matrices, (Cin / groups, M) each.

    Args:
      x: maps or vectors, their channels first.
      kernel: (groups, Cin / groups, F / groups), in float32 for a gradient of float32.
      before: step of an interleave of the input's channels; 1: none.
      after: step of an interleave of the output's channels, which is `early` or else
        not here; 1: none.
    """
    groups, inputs, outputs = kernel.shape
    y = multiply(kernel, grouped_rows(x, groups, before))
    return y.reshape(groups * outputs, *x.shape[1:])


def plain_gradients(
    dy: jax.Array, x: jax.Array, kernel: jax.Array, *, before: int = 1, after: int = 1
) -> tuple[jax.Array, jax.Array]:
    groups = kernel.shape[0]
    saved = kernel, grouped_rows(x, groups, before)
    dkernel, dx = backward(saved, grouped_rows(dy, groups))
    dx = interleave(dx.reshape(x.shape[0], -1), x.shape[0] // before, axis=0)
    return dx.reshape(x.shape), dkernel


def grouped_rows(x: jax.Array, groups: int, step: int = 1) -> jax.Array:
    """(C, ...) interleaved -> (groups, C / groups, M)."""
    rows = interleave(x.reshape(x.shape[0], math.prod(x.shape[1:])), step, axis=0)
    return rows.reshape(groups, -1, rows.shape[1])


def of_all_groups(
    x: jax.Array, kernel: jax.Array, *, before: int = 1, after: int = 1
) -> jax.Array:
    """One product with the block-diagonal matrix of all groups.

    Its rows and columns are interleaved, not the maps: a TPU multiplies by the zeros in
    less time than it moves a map.
    """
    return multiply(block_diagonal(kernel, before, after), x)


def of_all_groups_gradients(
    dy: jax.Array, x: jax.Array, kernel: jax.Array, *, before: int = 1, after: int = 1
) -> tuple[jax.Array, jax.Array]:
    dmatrix, dx = backward((block_diagonal(kernel, before, after), x), dy)
    return dx, blocks_of_diagonal(dmatrix, kernel.shape, before, after)


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
    rows = interleave(rows, groups * inputs // before, axis=0)
    repeat, mask = diagonal(kernel.shape, before, after, kernel.dtype)
    # Repeated by a product, whose gradient is one too, and no sum over short rows.
    return multiply_exactly(rows, repeat) * mask


def blocks_of_diagonal(
    matrix: jax.Array, shape: tuple[int, int, int], before: int, after: int
) -> jax.Array:
    """The transpose of `block_diagonal`: the kernel of this shape."""
    if shape[0] == 1:
        return matrix[None]
    repeat, mask = diagonal(shape, before, after, matrix.dtype)
    rows = multiply_exactly(matrix * mask, repeat.T)
    return interleave(rows, before, axis=0).reshape(shape)


def diagonal(
    shape: tuple[int, int, int], before: int, after: int, dtype: Any
) -> tuple[jax.Array, jax.Array]:
    """Of a block-diagonal matrix: which column of a group each of its columns is,
    (outputs, groups * outputs), and where its groups are; ones, else zeros."""
    groups, inputs, outputs = shape
    of_row = interleaved(np.arange(groups).repeat(inputs), groups * inputs // before)
    of_column = interleaved(np.arange(groups).repeat(outputs), after)
    number = interleaved(np.tile(np.arange(outputs), groups), after)
    pairs = (np.arange(outputs), number), (of_row, of_column)
    repeat, mask = (jnp.equal(a[:, None], b).astype(dtype) for a, b in pairs)
    return repeat, mask


multiply_exactly = partial(jax.lax.dot, precision="highest")


def interleaved(numbers: np.ndarray, step: int) -> np.ndarray:
    """As `interleave`."""
    return numbers.reshape(-1, step).T.ravel()


def multiply(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Products of matrices: (groups, i, o), (groups, i, ...) -> (groups, o, ...), or
    one product without the axis of groups.

    In the dtype of x. The gradient of the kernel is summed in its own dtype, over chips
    too.
    """
    if kernel.dtype == x.dtype:
        return batched(kernel, x)
    return with_wide_gradient(kernel, x)


def batched(kernel: jax.Array, x: jax.Array) -> jax.Array:
    i = kernel.ndim - 2  # axis of the inputs, after that of the groups
    return jax.lax.dot_general(
        kernel.astype(x.dtype), x, (((i,), (i,)), (range(i), range(i)))
    )


with_wide_gradient = jax.custom_vjp(batched)


def forward(
    kernel: jax.Array, x: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return batched(kernel, x), (kernel, x)


def backward(
    saved: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    kernel, x = saved
    i = kernel.ndim - 2
    groups, pixels = (range(i), range(i)), range(i + 1, x.ndim)
    dkernel = jax.lax.dot_general(
        x, dy, ((pixels, pixels), groups), preferred_element_type=widened(x).dtype
    )
    dx = jax.lax.dot_general(kernel.astype(x.dtype), dy, (((i + 1,), (i,)), groups))
    return dkernel.astype(kernel.dtype), dx


with_wide_gradient.defvjp(forward, backward)

product = with_own_gradient(
    {"default": plain, "tpu": of_all_groups},
    {"default": plain_gradients, "tpu": of_all_groups_gradients},
)


def plus(x: jax.Array, bias: jax.Array) -> jax.Array:
    """A number of `bias`, (C,), for each channel of (C, ...)."""
    return x + jnp.expand_dims(bias, range(1, x.ndim))


add_bias = with_own_gradient(by_row(plus))
