"""What several nets share: the depthwise convolution, squeeze-and-excitation, the
inverted residual block, pooling, the check of their input, and the numbers of their
blocks."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

Activation = Callable[[jax.Array], jax.Array]

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


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: a factor for each channel, from the channels' means.

    (N, H, W, C) -> (N, H, W, C). Hu et al., arXiv 1709.01507.

    Attributes:
      features: width between the two pointwise layers.
      activation: after the first of them.
      gate: after the second, gives the factors.
      pointwise: makes a pointwise layer, a `Pointwise` with the net's settings.
    """

    features: int
    activation: Activation
    gate: Activation
    pointwise: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        pointwise = partial(self.pointwise, use_bias=True, norm=None)
        factors = x.mean((1, 2), keepdims=True)
        factors = pointwise(self.features, activation=self.activation, name="reduce")(
            factors
        )
        factors = pointwise(x.shape[-1], activation=self.gate, name="expand")(factors)
        return x * factors


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-and-excitation, project, with a way around them.

    (N, H, W, C) -> (N, H', W', features). The way around is there where the stride is 1
    and C = features. Sandler et al., arXiv 1801.04381, Fig. 4; Howard et al., arXiv
    1905.02244, Fig. 4.

    Attributes:
      features: number of output channels.
      expanded: number of channels of the depthwise convolution; not expanded where the
        input has as many.
      kernel_size, stride: of the depthwise convolution.
      activation: of the expansion and of the depthwise convolution.
      squeeze: makes the squeeze-and-excitation of a width; None: without.
      drop_rate: share of the images for which training drops all but the way around
        (drop-connect).
      pointwise: makes a pointwise layer, a `Pointwise` with the net's settings.
      depthwise: makes a `Depthwise` with the net's settings.
      norm: makes the normalisation after the depthwise convolution.
    """

    features: int
    expanded: int
    kernel_size: int
    stride: int
    activation: Activation
    squeeze: Callable[..., nn.Module] | None
    drop_rate: float
    pointwise: Callable[..., nn.Module]
    depthwise: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        x = inputs
        if self.expanded != x.shape[-1]:
            x = self.pointwise(
                self.expanded, activation=self.activation, name="expand"
            )(x)
        padding = keras_padding(x.shape, self.kernel_size, self.stride)
        x = self.depthwise(self.kernel_size, self.stride, padding, name="depthwise")(x)
        x = self.activation(self.norm(name="depthwise_norm")(x))
        if self.squeeze is not None:
            x = self.squeeze(name="squeeze_excite")(x)
        x = self.pointwise(self.features, name="project")(x)
        if self.stride != 1 or x.shape != inputs.shape:
            return x
        drop = nn.Dropout(self.drop_rate, broadcast_dims=(1, 2, 3))
        return inputs + drop(x, deterministic=not train)


def batch_norm(
    net: nn.Module, *, train: bool, momentum: float = 0.99, epsilon: float = 1e-3
) -> Callable[..., nn.BatchNorm]:
    """What makes the batch normalisations of a net.

    The running variance is the biased one, as in Flax; Keras' is not.

    Args:
      net: has a `dtype`, and a `batch_norm_momentum` that takes the place of `momentum`
        unless it is None.
      train: whether to use the batch's statistics and to update the running ones.
      momentum: decay of the running statistics.
      epsilon: added to the variance.
    """
    chosen = net.batch_norm_momentum
    return partial(
        nn.BatchNorm,
        use_running_average=not train,
        momentum=momentum if chosen is None else chosen,
        epsilon=epsilon,
        dtype=net.dtype,
    )


def stem_conv(
    net: nn.Module,
    features: int,
    stride: int,
    padding: Padding,
    kernel_init: nn.initializers.Initializer,
) -> nn.Conv:
    """The first layer of a net, 3x3 without bias, for its compact method."""
    return nn.Conv(
        features,
        (3, 3),
        strides=stride,
        padding=padding,
        use_bias=False,
        kernel_init=kernel_init,
        dtype=net.dtype,
        name="stem",
    )


def keras_padding(shape: tuple[int, ...], kernel_size: int, stride: int) -> Padding:
    """Zeros around (N, H, W, C) for a convolution in Keras' EfficientNet and MobileNet
    V3, which keep ceil(size / stride) rows and columns.

    With a stride of 2 and an even size there is one row less above than below.
    """
    half = kernel_size // 2
    height, width = ((half - (stride == 2 and n % 2 == 0), half) for n in shape[1:3])
    return height, width


def small_image_strides(strides: Sequence[int], small_images: bool) -> list[int]:
    """The strides of a net's layers: for small images the first three 2s become 1s.

    The paper's form of EfficientNet for 32x32 pixels.
    """
    strides = list(strides)
    if small_images:
        for i in [i for i, stride in enumerate(strides) if stride == 2][:3]:
            strides[i] = 1
    return strides


def stage_of_block(name: str, model: nn.Module) -> tuple[int, int]:
    """Stage of a block (from 1) and its number in the stage (from 0)."""
    number = int(name.removeprefix("block"))
    for stage, blocks in enumerate(model.blocks_per_stage, start=1):
        if number < blocks:
            return stage, number
        number -= blocks
    raise KeyError(name)


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, or the next one where that is below 90%.

    Howard et al.'s rule for the widths of MobileNet V3 and EfficientNet.
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def global_average(x: jax.Array) -> jax.Array:
    """Means over the pixels, in float32 at least: (N, H, W, C) -> (N, C)."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean((1, 2))


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
