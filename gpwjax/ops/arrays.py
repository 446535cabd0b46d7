"""What the operations on maps (C, N, H, W) have in common."""

from collections.abc import Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp

# Rows and columns of zeros (before, after) on the vertical and the horizontal axis.
Padding = tuple[tuple[int, int], tuple[int, int]]


def pad(x: jax.Array, padding: Padding, between: int = 0) -> jax.Array:
    """Zeros around (C, N, H, W), and so many between its rows and its columns."""
    none = (0, 0, 0)
    around = [(before, after, between) for before, after in padding]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), (none, none, *around))


def keras_padding(shape: tuple[int, ...], kernel_size: int, stride: int) -> Padding:
    """Zeros around (C, N, H, W) for a convolution in Keras' EfficientNet and MobileNet
    V3, which keep ceil(size / stride) rows and columns.

    With a stride of 2 and an even size there is one row less above than below.
    """
    half = kernel_size // 2
    height, width = ((half - (stride == 2 and n % 2 == 0), half) for n in shape[2:])
    return height, width


def windows(x: jax.Array, k: int, stride: int) -> Iterator[jax.Array]:
    """For each element of a k x k kernel, row by row, the pixels that it meets."""
    c, n, height, width = x.shape
    rows, columns = height - k + 1, width - k + 1
    for i in range(k):
        for j in range(k):
            # Not by brackets, which take four times as long to trace.
            last = (c, n, i + rows, j + columns)
            yield jax.lax.slice(x, (0, 0, i, j), last, (1, 1, stride, stride))


def sums(arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """Each channel's, (C,), of arrays (C, N, ...) of one shape."""
    return [x.sum(range(1, x.ndim)) for x in arrays]


def sums_in_one_pass(arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """As `sums`; what the arrays are computed from is read once."""
    zeros = tuple(jnp.zeros((), x.dtype) for x in arrays)
    add = partial(jax.tree.map, jnp.add)
    of_images = jax.lax.reduce(tuple(arrays), zeros, add, range(2, arrays[0].ndim))
    # By itself, or several devices would gather the parts of the sums.
    return [x.sum(1) for x in of_images]


def widened(x: jax.Array) -> jax.Array:
    """In float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
