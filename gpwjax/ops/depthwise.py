"""The depthwise convolution."""

import math
from collections.abc import Callable
from functools import partial, reduce
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
        y = depthwise(x, kernel, self.stride, self.padding)
        return y if bias is None else add_bias(y, bias.astype(y.dtype))


def plain(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """Depthwise convolution of (C, N, H, W) with a kernel (k, k, 1, C)."""
    return convolution.with_wide_gradient(x, kernel, stride, padding)


def dense_if_narrow(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """With few channels as a convolution of all of them, whose kernel is zero but for
    the diagonal of its matrices: a TPU's matrix unit takes them at once."""
    channels = x.shape[0]
    if channels <= FEW_CHANNELS:
        kernel = kernel * jnp.eye(channels, dtype=kernel.dtype)
    return plain(x, kernel, stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """As `plain`.

    Args:
      x: (C, N, H, W).
      kernel: (k, k, 1, C), in float32 for a gradient of float32.
      stride: step on both axes.
      padding: zeros around the image.
    """
    return forward(x, kernel, stride, padding)[0]


def forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    y, padded = with_padded_input(x, kernel, stride=stride, padding=padding)
    return y, (x, padded, kernel)


def backward(
    stride: int, padding: Padding, saved: tuple[jax.Array, ...], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return gradients(*saved, dy, stride=stride, padding=padding)


depthwise.defvjp(forward, backward)


def convolved(
    x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding
) -> tuple[jax.Array, jax.Array]:
    """The result, and the padded input, which a program that does not use it drops."""
    return dense_if_narrow(x, kernel, stride, padding), pad(x, padding)


def convolved_gradients(
    x: jax.Array,
    padded: jax.Array,
    kernel: jax.Array,
    dy: jax.Array,
    *,
    stride: int,
    padding: Padding,
) -> tuple[jax.Array, jax.Array]:
    form = partial(dense_if_narrow, stride=stride, padding=padding)
    return jax.vjp(form, x, kernel)[1](dy)


def shifted(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int,
    padding: Padding,
    run: Callable[..., Any],
) -> tuple[jax.Array, jax.Array]:
    """The sum of the kernel's k * k shifted products, and the padded input.

    Many times quicker on a CPU than XLA's grouped convolution. On a GPU that wants its
    input padded in another order, in memory; these are computed from what is before.

    Args:
      run: how functions are computed: on a CPU `in_a_branch`, for XLA:CPU must be kept
        from computing them in the loops of what follows, which run over whole rows:
        they would have the index arithmetic of both shapes, not be vectorised, and be
        computed in each of them anew, half of the time of a train step.
    """

    def forward(rows: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        padded = pad(rows.reshape(x.shape), padding)
        return shifted_products(padded, kernel, stride), padded

    # As rows, since what is before runs over them.
    return run(forward, x.reshape(x.shape[0], math.prod(x.shape[1:])), kernel)


def shifted_gradients(
    x: jax.Array,
    padded: jax.Array,
    kernel: jax.Array,
    dy: jax.Array,
    *,
    stride: int,
    padding: Padding,
    run: Callable[..., Any],
) -> tuple[jax.Array, jax.Array]:
    """Those of x, again a sum of shifted products, and of the kernel.

    JAX's own gradient of a slice is a padded array: k * k of them, each written to
    memory, several times slower on a CPU.
    """
    k = kernel.shape[0]
    # Of dy: zeros between its pixels (stride) and around them, so that the turned
    # kernel gives one value for each pixel of x.
    around = [
        (k - 1 - before, size - after - stride * (count - 1) - 1)
        for (before, after), size, count in zip(
            padding, padded.shape[2:], dy.shape[2:], strict=True
        )
    ]

    def backward(rows: jax.Array, kernel: jax.Array) -> jax.Array:
        around_dy = pad(rows.reshape(dy.shape), around, stride - 1)
        return shifted_products(around_dy, kernel[::-1, ::-1])

    parts = windows(widened(padded), k, stride)
    # XLA:CPU would write the products to memory, were their sums not one pass.
    sums = sums_in_one_pass([part * widened(dy) for part in parts])
    dkernel = jnp.stack(sums).reshape(kernel.shape)
    dx = run(backward, dy.reshape(dy.shape[0], math.prod(dy.shape[1:])), kernel)
    return dx, dkernel.astype(kernel.dtype)


def shifted_products(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """The sum over the kernel's elements of element * shifted x."""
    k, elements = kernel.shape[0], kernel.astype(x.dtype).reshape(-1, x.shape[0])
    products = (
        jax.lax.mul(part, jax.lax.broadcast_in_dim(element, part.shape, (0,)))
        for element, part in zip(elements, windows(x, k, stride), strict=True)
    )
    return reduce(jax.lax.add, products)


def directly(function: Callable[..., Any], *operands: Any) -> Any:
    return function(*operands)


with_padded_input = operation_of(
    {
        "default": convolved,
        "cpu": partial(shifted, run=in_a_branch),
        "cuda": partial(shifted, run=directly),
    }
)
gradients = operation_of(
    {
        "default": convolved_gradients,
        "cpu": partial(shifted_gradients, run=in_a_branch),
        "cuda": partial(shifted_gradients, run=directly),
    }
)
