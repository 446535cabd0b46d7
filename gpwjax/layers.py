"""What several nets share: the depthwise convolution and the check of their input."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

# Rows and columns of zeros (before, after) on the vertical and the horizontal axis.
Padding = tuple[tuple[int, int], tuple[int, int]]

# Keras' Glorot uniform of a depthwise kernel, which is (k, k, channels, 1) there: its
# fan in is k * k * channels, its fan out k * k.
depthwise_glorot_uniform = nn.initializers.variance_scaling(
    1.0, "fan_avg", "uniform", in_axis=-1, out_axis=-2
)


class Depthwise(nn.Module):
    """A depthwise convolution: (N, H, W, C) -> (N, H', W', C), no bias.

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

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        k = self.kernel_size
        kernel = self.param("kernel", self.kernel_init, (k, k, 1, x.shape[-1]))
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return depthwise(x, kernel, self.stride, self.padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """Depthwise convolution of (N, H, W, C) with a kernel (k, k, 1, C)."""
    return shifted_products(jnp.pad(x, ((0, 0), *padding, (0, 0))), kernel, stride)


def shifted_products(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The sum over the kernel's elements of element * shifted x, without padding."""
    return sum(
        window * kernel[i, j, 0] for i, j, window in windows(x, len(kernel), stride)
    )


def windows(x: jax.Array, k: int, stride: int) -> Iterator[tuple[int, int, jax.Array]]:
    """Row and column of an element of a k x k kernel, and the pixels that it meets."""
    rows, columns = x.shape[1] - k + 1, x.shape[2] - k + 1
    for i in range(k):
        for j in range(k):
            yield i, j, x[:, i : i + rows : stride, j : j + columns : stride]


def depthwise_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return depthwise(x, kernel, stride, padding), (x, kernel)


def depthwise_backward(
    stride: int,
    padding: Padding,
    saved: tuple[jax.Array, jax.Array],
    dy: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The gradients, dx again as a sum of shifted products.

    JAX's own gradient of a slice is a padded array: k * k of them, each written to
    memory, several times slower on a CPU. And dkernel shifts dy, not x: were x's
    windows needed here again, XLA would write all of them to memory.
    """
    x, kernel = saved
    k = len(kernel)
    # dy with zeros between its pixels (stride) and around them, so that the turned
    # kernel gives one value for each pixel of x.
    around = [
        (k - 1 - before, size + before - stride * (count - 1) - 1, stride - 1)
        for (before, _), size, count in zip(
            padding, x.shape[1:3], dy.shape[1:3], strict=True
        )
    ]
    none = (0, 0, 0)
    dy = jax.lax.pad(dy, jnp.zeros((), dy.dtype), (none, *around, none))
    dx = shifted_products(dy, kernel[::-1, ::-1], 1)
    dkernel = [(x * window).sum((0, 1, 2)) for _, _, window in windows(dy, k, 1)]
    return dx, jnp.stack(dkernel[::-1]).reshape(kernel.shape).astype(kernel.dtype)


depthwise.defvjp(depthwise_forward, depthwise_backward)


def check_images(images: jax.Array, min_size: int) -> None:
    """Raises ValueError unless `images` is (N, H, W, C) of floats, H, W >= min_size."""
    if images.ndim != 4:
        raise ValueError(f"images must be (N, H, W, C), got shape {images.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images must be floats in [0, 1], got dtype {images.dtype}")
    height, width = images.shape[1:3]
    if min(height, width) < min_size:
        raise ValueError(
            f"images must be at least {min_size}x{min_size} pixels for this net, got "
            f"{height}x{width}"
        )
