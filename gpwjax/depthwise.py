"""The depthwise convolution as shifted products, forward and backward."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from gpwjax.unfused import unfused

# Rows and columns of zeros (before, after) on the vertical and the horizontal axis.
Padding = tuple[tuple[int, int], tuple[int, int]]

# Keras' Glorot uniform of a depthwise kernel, which is (k, k, channels, 1) there: its
# fan in is k * k * channels, its fan out k * k.
depthwise_glorot_uniform = nn.initializers.variance_scaling(
    1.0, "fan_avg", "uniform", in_axis=-1, out_axis=-2
)


class Depthwise(nn.Module):
    """A depthwise convolution: (C, N, H, W) -> (C, N, H', W'), no bias.

    Computed as the sum of the kernel's k * k shifted products, many times quicker on a
    CPU than XLA's grouped convolution. The kernel has the shape (k, k, 1, C), as in
    `nn.Conv(C, (k, k), feature_group_count=C)`.

    Attributes:
      kernel_size: k, height and width of the kernel.
      stride: step on both axes.
      padding: zeros around the image.
      dtype: dtype of the computation (default: inferred from input and parameters).
      kernel_init: initialiser of the kernel (default: Keras' Glorot uniform).
    """

    kernel_size: int
    stride: int
    padding: Padding
    dtype: Any = None
    kernel_init: nn.initializers.Initializer = depthwise_glorot_uniform

    axis: ClassVar[int] = 0  # of the channels

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        k = self.kernel_size
        kernel = self.param("kernel", self.kernel_init, (k, k, 1, len(x)))
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return depthwise(x, kernel, self.stride, self.padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """Depthwise convolution of (C, N, H, W) with a kernel (k, k, 1, C)."""
    return depthwise_forward(x, kernel, stride, padding)[0]


def depthwise_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    def forward(planes: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        padded = pad(planes.reshape(x.shape), padding)
        return shifted_products(padded, kernel, stride), padded

    # Not in the loops of what follows, which run over whole rows: it would have the
    # index arithmetic of both shapes, not be vectorised, and be computed in each of
    # them anew, half of the time of a train step.
    # Without the axis N, since XLA:CPU would choose another order in memory for one
    # image, and copy it.
    planes = x.reshape(math.prod(x.shape[:2]), *x.shape[2:])
    y, padded = unfused(forward, planes, kernel)
    return y, (padded, kernel)


def depthwise_backward(
    stride: int,
    padding: Padding,
    saved: tuple[jax.Array, jax.Array],
    dy: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The gradients, dx again as a sum of shifted products.

    JAX's own gradient of a slice is a padded array: k * k of them, each written to
    memory, several times slower on a CPU.
    """
    padded, kernel = saved
    k = len(kernel)
    # Of dy: zeros between its pixels (stride) and around them, so that the turned
    # kernel gives one value for each pixel of x.
    around = [
        (k - 1 - before, size - after - stride * (count - 1) - 1)
        for (before, after), size, count in zip(
            padding, padded.shape[2:], dy.shape[2:], strict=True
        )
    ]

    def backward(dy: jax.Array, kernel: jax.Array) -> jax.Array:
        return shifted_products(pad(dy, around, stride - 1), kernel[::-1, ::-1])

    shifted = windows(widened(padded), k, stride)
    dkernel = jnp.stack(sums([part * widened(dy) for _, _, part in shifted]))
    dkernel = dkernel.reshape(kernel.shape).astype(kernel.dtype)
    return unfused(backward, dy, kernel), dkernel


depthwise.defvjp(depthwise_forward, depthwise_backward)


def shifted_products(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """The sum over the kernel's elements of element * shifted x."""
    shifted = windows(x, len(kernel), stride)
    return sum(part * kernel[i, j, 0, :, None, None, None] for i, j, part in shifted)


def pad(x: jax.Array, padding: Padding, between: int = 0) -> jax.Array:
    """Zeros around (C, N, H, W), and so many between its rows and its columns."""
    none = (0, 0, 0)
    around = [(before, after, between) for before, after in padding]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), (none, none, *around))


def windows(x: jax.Array, k: int, stride: int) -> Iterator[tuple[int, int, jax.Array]]:
    """Row and column of an element of a k x k kernel, and the pixels that it meets."""
    rows, columns = x.shape[2] - k + 1, x.shape[3] - k + 1
    for i in range(k):
        for j in range(k):
            yield i, j, x[:, :, i : i + rows : stride, j : j + columns : stride]


def sums(arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """Each channel's sum, (C,), of arrays (C, N, H, W) of one shape.

    On a CPU in one pass over them all: XLA:CPU would write the operands of each sum to
    memory first.
    """

    def in_one_pass(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        zeros = tuple(jnp.zeros((), x.dtype) for x in arrays)
        add = partial(jax.tree.map, jnp.add)
        return tuple(jax.lax.reduce(arrays, zeros, add, (2, 3)))

    def one_by_one(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(x.sum((2, 3)) for x in arrays)

    of_images = jax.lax.platform_dependent(*arrays, cpu=in_one_pass, default=one_by_one)
    return [x.sum(1) for x in of_images]


def widened(x: jax.Array) -> jax.Array:
    """In float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
