"""The depthwise convolution."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from gpwjax.ops import convolution
from gpwjax.ops.arrays import Padding, pad, sums_in_one_pass, widened, windows
from gpwjax.ops.platforms import in_a_branch, operation_of
from gpwjax.ops.product import add_bias

# Keras' Glorot uniform of a depthwise kernel, which is (k, k, channels, 1) there: its
# fan in is k * k * channels, its fan out k * k.
depthwise_glorot_uniform = nn.initializers.variance_scaling(
    1.0, "fan_avg", "uniform", in_axis=-1, out_axis=-2
)

# With so many a TPU v5e is quicker at one convolution, by its compiler's estimate: 15,
# not 25 million cycles with 32 channels of 112 x 112 pixels, batch 256; not with 64.
FEW_CHANNELS = 32


class Depthwise(nn.Module):
    """A depthwise convolution: (C, N, H, W) -> (C, N, H', W').

    The kernel has the shape (k, k, 1, C), as in `nn.Conv(C, (k, k),
    feature_group_count=C)`.

    Attributes:
      kernel_size: k, height and width of the kernel.
      stride: step on both axes.
      padding: zeros around the image.
      dtype: dtype of the computation (default: inferred from input and parameters).
      kernel_init: initialiser of the kernel (default: Keras' Glorot uniform).
      use_bias: whether to add a bias of shape (C,).
    """

    kernel_size: int
    stride: int
    padding: Padding
    dtype: Any = None
    kernel_init: nn.initializers.Initializer = depthwise_glorot_uniform
    use_bias: bool = False

    axis: ClassVar[int] = 0  # of the channels

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        k = self.kernel_size
        kernel = self.param("kernel", self.kernel_init, (k, k, 1, x.shape[0]))
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (x.shape[0],))
        x = promote_dtype(x, kernel, dtype=self.dtype)[0]
        y = depthwise(x, kernel, stride=self.stride, padding=self.padding)
        return y if bias is None else add_bias(y, bias.astype(y.dtype))


def plain(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """Depthwise convolution of (C, N, H, W) with a kernel (k, k, 1, C)."""
    return convolution.plain(x, kernel, stride, padding)


def dense_if_narrow(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """With few channels as a convolution of all of them, whose kernel is zero but for
    the diagonal of its matrices: a TPU's matrix unit takes them at once."""
    channels = x.shape[0]
    if channels <= FEW_CHANNELS:
        kernel = kernel * jnp.eye(channels, dtype=kernel.dtype)
    return convolution.with_wide_gradient(x, kernel, stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def shifted(
    x: jax.Array,
    kernel: jax.Array,
    stride: int,
    padding: Padding,
    on_cpu: bool = True,
) -> jax.Array:
    """The sum of the kernel's k * k shifted products.

    Many times quicker on a CPU than XLA's grouped convolution. On a GPU that wants its
    input padded in another order, in memory; these are computed from what is before.

    Args:
      x: (C, N, H, W).
      kernel: (k, k, 1, C).
      stride: step on both axes.
      padding: zeros around the image.
      on_cpu: whether XLA:CPU must be kept from computing it in what is around it.
    """
    return shifted_forward(x, kernel, stride, padding, on_cpu)[0]


def shifted_forward(
    x: jax.Array,
    kernel: jax.Array,
    stride: int,
    padding: Padding,
    on_cpu: bool,
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
    run = in_a_branch if on_cpu else directly
    y, padded = run(forward, planes, kernel)
    return y, (padded, kernel)


def shifted_backward(
    stride: int,
    padding: Padding,
    on_cpu: bool,
    saved: tuple[jax.Array, jax.Array],
    dy: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The gradients, dx again as a sum of shifted products.

    JAX's own gradient of a slice is a padded array: k * k of them, each written to
    memory, several times slower on a CPU.
    """
    padded, kernel = saved
    k = kernel.shape[0]
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

    parts = windows(widened(padded), k, stride)
    # XLA:CPU would write the products to memory, were their sums not one pass.
    sums = sums_in_one_pass([part * widened(dy) for _, _, part in parts])
    dkernel = jnp.stack(sums).reshape(kernel.shape)
    run = in_a_branch if on_cpu else directly
    return run(backward, dy, kernel), dkernel.astype(kernel.dtype)


shifted.defvjp(shifted_forward, shifted_backward)


def shifted_products(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """The sum over the kernel's elements of element * shifted x."""
    kernel = kernel.astype(x.dtype)
    parts = windows(x, kernel.shape[0], stride)
    return sum(part * kernel[i, j, 0, :, None, None, None] for i, j, part in parts)


def directly(function: Callable[..., Any], *operands: Any) -> Any:
    return function(*operands)


depthwise = operation_of(
    {
        "default": plain,
        "cpu": shifted,
        "cuda": partial(shifted, on_cpu=False),
        "tpu": dense_if_narrow,
    }
)
