"""The convolution of all channels."""

import math
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from gpwjax.ops.arrays import Padding, pad, widened, windows
from gpwjax.ops.platforms import in_a_branch, operation_of
from gpwjax.ops.product import add_bias, multiply


class Conv(nn.Module):
    """A convolution: (C, N, H, W) -> (features, N, H', W').

    Attributes:
      features: number of output channels.
      stride: step on both axes.
      padding: zeros around the image.
      dtype: dtype of the computation (default: inferred from input and parameters).
      kernel_init: initialiser of the kernel (k, k, C, features).
      use_bias: whether to add a bias of shape (features,).
      kernel_size: k, height and width of the kernel.
    """

    features: int
    stride: int = 1
    padding: Padding = ((1, 1), (1, 1))
    dtype: Any = None
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
    use_bias: bool = False
    kernel_size: int = 3

    axis: ClassVar[int] = 0  # of the channels

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[0], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = promote_dtype(x, kernel, dtype=self.dtype)[0]
        y = convolution(x, kernel, stride=self.stride, padding=self.padding)
        return y if bias is None else add_bias(y, bias.astype(y.dtype))


def plain(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """Convolution of (C, N, H, W) with a kernel (k, k, C / groups, F): (F, N, H', W').

    In the dtype of x.
    """
    return jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (stride, stride),
        padding,
        dimension_numbers=("CNHW", "HWIO", "CNHW"),
        feature_group_count=x.shape[0] // kernel.shape[2],
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def with_wide_gradient(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """The convolution; the gradient of its kernel is summed in float32 at least, over
    chips too. A GPU would want x and dy in float32 for that."""
    return plain(x, kernel, stride, padding)


def with_wide_gradient_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return plain(x, kernel, stride, padding), (x, kernel)


def with_wide_gradient_backward(
    stride: int,
    padding: Padding,
    saved: tuple[jax.Array, jax.Array],
    dy: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    run = partial(plain, kernel=kernel, stride=stride, padding=padding)
    (dx,) = jax.linear_transpose(run, x)(dy)
    # A convolution of x with dy, whose result has the size of the kernel.
    around = [
        (before, k + stride * (results - 1) - size - before)
        for (before, _), k, size, results in zip(
            padding, kernel.shape[:2], x.shape[2:], dy.shape[2:], strict=True
        )
    ]
    dkernel = jax.lax.conv_general_dilated(
        x,
        dy,
        (1, 1),
        around,
        rhs_dilation=(stride, stride),
        dimension_numbers=("NCHW", "OIHW", "HWNC"),
        batch_group_count=x.shape[0] // kernel.shape[2],
        preferred_element_type=widened(x).dtype,
    )
    return dx, dkernel.astype(kernel.dtype)


with_wide_gradient.defvjp(with_wide_gradient_forward, with_wide_gradient_backward)


def as_product(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """One matrix product: XLA:CPU's convolution takes one core and another order of the
    axes.

    Of an image's three channels, after the shifts; with stride 1, before them, where a
    DenseNet's are fewer.
    """
    if x.shape[0] == 3:
        return shifted_before(x, kernel, stride, padding)
    if stride == 1 and kernel.shape[0] == 3:
        return shifted_after(x, kernel.astype(x.dtype), padding)
    return plain(x, kernel, stride, padding)


def shifted_before(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """The convolution as a product with the k * k shifted inputs."""
    shifted = jnp.stack([*windows(pad(x, padding), kernel.shape[0], stride)])
    pixels, f = shifted.shape[2:], kernel.shape[-1]
    patches = shifted.reshape(kernel.size // f, math.prod(pixels))
    return multiply(kernel.reshape(-1, f), patches).reshape(f, *pixels)


def product_of_images(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """Of an image's three channels one matrix product.

    cuDNN's convolution would have the channels last in memory, and all up to the first
    product too, where XLA:GPU is bad at sums over pixels.
    """
    form = shifted_before if x.shape[0] == 3 else plain
    return form(x, kernel, stride, padding)


def shifted_after(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """The convolution of stride 1 as a product, and the sum of its nine parts shifted.

    These have F channels, the shifted inputs and their gradient C.
    """
    c, *pixels = x.shape
    f = kernel.shape[-1]
    products = jnp.einsum(
        "pc,cm->pm", jnp.moveaxis(kernel, 2, 3).reshape(-1, c), x.reshape(c, -1)
    )
    return sum_shifted(products.reshape(9 * f, *pixels), padding)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def sum_shifted(parts: jax.Array, padding: Padding) -> jax.Array:
    """(9 * F, N, H, W) -> (F, N, H', W'): each part as its element of the kernel meets
    the pixels, and their sum."""

    def shift_and_add(planes: jax.Array) -> jax.Array:
        padded = pad(planes.reshape(9, -1, *planes.shape[1:]), padding)
        return sum(part[i] for i, part in enumerate(windows(padded, 3, 1)))

    # Planes, and by themselves, as in `depthwise.shifted_forward`.
    _, n, *size = parts.shape
    planes = parts.reshape(parts.shape[0] * n, *size)
    y = in_a_branch(shift_and_add, planes)
    return y.reshape(parts.shape[0] // 9, n, *y.shape[1:])


def sum_shifted_forward(parts: jax.Array, padding: Padding) -> tuple[jax.Array, None]:
    return sum_shifted(parts, padding), None


def sum_shifted_backward(
    padding: Padding, saved: None, dy: jax.Array
) -> tuple[jax.Array]:
    """The gradient, dy shifted back: JAX's own pads nine arrays and adds them."""
    around = tuple((2 - before, 2 - after) for before, after in padding)

    def shift_back(dy: jax.Array) -> jax.Array:
        shifted = [*windows(pad(dy, around), 3, 1)]
        return jnp.concatenate(shifted[::-1])

    return (in_a_branch(shift_back, dy),)


sum_shifted.defvjp(sum_shifted_forward, sum_shifted_backward)


convolution = operation_of(
    {
        "default": plain,
        "cpu": as_product,
        "cuda": product_of_images,
        "tpu": with_wide_gradient,
    }
)
