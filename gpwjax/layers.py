"""What several nets share: batch normalisation, squeeze-and-excitation, the inverted
residual block, pooling, the check of their input, and the numbers of their blocks.

Inside the nets an array of images is (C, N, H, W). So a channel is a long row, along
which XLA:CPU vectorises all that is elementwise, a grouped pointwise convolution is a
batch of matrix products without a transpose, the interleave moves whole rows, and a sum
over a channel reads memory in order.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpwjax.depthwise import Padding, widened
from gpwjax.pointwise import Pointwise as PointwiseOnAnyAxis
from gpwjax.pointwise import by_row


@jax.custom_vjp
def lean_swish(x: jax.Array) -> jax.Array:
    """x * sigmoid(x). Its gradient saves x alone, not the sigmoid too."""
    return nn.swish(x)


def lean_swish_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return nn.swish(x), x


def lean_swish_backward(x: jax.Array, dy: jax.Array) -> tuple[jax.Array]:
    # The sigmoid by another formula, or XLA would find it in the forward pass and keep
    # it from there.
    share = 0.5 + 0.5 * jnp.tanh(0.5 * x)
    return (dy * share * (1 + x * (1 - share)),)


lean_swish.defvjp(lean_swish_forward, lean_swish_backward)

relu, relu6, swish, hard_swish = map(
    by_row, (nn.relu, nn.relu6, lean_swish, nn.hard_swish)
)

Activation = Callable[[jax.Array], jax.Array]


class BatchNorm(nn.Module):
    """Batch normalisation of (C, N, H, W), with the variables of `nn.BatchNorm`.

    Ioffe and Szegedy, arXiv 1502.03167. The running variance is the biased one, as in
    Flax; Keras' is not. Statistics are float32.

    Attributes:
      use_running_average: whether to use the running statistics, not the batch's.
      momentum: decay of the running statistics.
      epsilon: added to the variance.
      dtype: of the result (default: inferred from input and parameters).
    """

    use_running_average: bool
    momentum: float = 0.99
    epsilon: float = 1e-3
    dtype: Any = None

    axis: ClassVar[int] = 0  # of the channels

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = (len(x),)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        if self.use_running_average:
            moments = mean.value, var.value
            y = by_row(
                lambda rows: normalised(rows, *moments, scale, bias, self.epsilon)
            )(x)
        else:
            rows = x.reshape(len(x), math.prod(x.shape[1:]))
            rows, *moments = batch_normalised(rows, scale, bias, self.epsilon)
            y = rows.reshape(x.shape)
            if not self.is_initializing():
                for running, moment in zip((mean, var), moments, strict=True):
                    kept, new = self.momentum * running.value, 1 - self.momentum
                    running.value = kept + new * jax.lax.stop_gradient(moment)
        return y.astype(self.dtype or jnp.result_type(x, scale))


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_normalised(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rows (C, M) normalised, scaled and shifted, and their means and variances.

    These two are constants for a gradient.
    """
    wide, m = widened(x), x.shape[1]
    mean = wide.sum(1) / m
    var = jnp.maximum((wide * wide).sum(1) / m - mean**2, 0)
    return normalised(x, mean, var, scale, bias, epsilon), mean, var


def normalised(
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float,
) -> jax.Array:
    """Rows (C, M) with these means and variances, normalised, scaled and shifted."""
    factor = jax.lax.rsqrt(var + epsilon) * scale
    return x * factor[:, None] + (bias - factor * mean)[:, None]


def batch_normalised_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[tuple, tuple]:
    y, mean, var = batch_normalised(x, scale, bias, epsilon)
    return (y, mean, var), (x, mean, var, scale)


def batch_normalised_backward(
    epsilon: float, saved: tuple, cotangents: tuple
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The gradients. Only x is saved for them, and only x and dy are read."""
    x, mean, var, scale = saved
    dy, m = widened(cotangents[0]), x.shape[1]
    inverse = jax.lax.rsqrt(var + epsilon)
    dbias = dy.sum(1)
    # Not of dy * (x - mean), which XLA:CPU would write to memory.
    dscale = inverse * ((dy * widened(x)).sum(1) - mean * dbias)
    factor = inverse * scale
    slope = factor * inverse * dscale / m
    offset = slope * mean - factor * dbias / m
    dx = dy * factor[:, None] - x * slope[:, None] + offset[:, None]
    return dx.astype(x.dtype), dscale, dbias


batch_normalised.defvjp(batch_normalised_forward, batch_normalised_backward)


# The pointwise convolution of (C, N, H, W).
Pointwise = partial(PointwiseOnAnyAxis, axis=0)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: a factor for each channel, from the channels' means.

    (C, N, H, W) -> (C, N, H, W). Hu et al., arXiv 1709.01507.

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
        rows = by_image(x)
        factors = rows.mean(2)[..., None, None]
        factors = pointwise(self.features, activation=self.activation, name="reduce")(
            factors
        )
        factors = pointwise(len(x), activation=self.gate, name="expand")(factors)
        return (rows * by_image(factors)).reshape(x.shape)


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-and-excitation, project, with a way around them.

    (C, N, H, W) -> (features, N, H', W'). The way around is there where the stride is 1
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
      train: whether images are dropped.
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
    train: bool

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        x = inputs
        if self.expanded != len(x):
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
        drop = nn.Dropout(self.drop_rate, broadcast_dims=(0, 2))
        inputs, rows = by_image(inputs), by_image(x)
        return (inputs + drop(rows, deterministic=not self.train)).reshape(x.shape)


def by_image(x: jax.Array) -> jax.Array:
    """(C, N, H, W) -> (C, N, H * W)."""
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


def batch_norm(
    net: nn.Module, *, train: bool, momentum: float = 0.99, epsilon: float = 1e-3
) -> Callable[..., BatchNorm]:
    """What makes the batch normalisations of a net.

    Args:
      net: has a `dtype`, and a `batch_norm_momentum` that takes the place of `momentum`
        unless it is None.
      train: whether to use the batch's statistics and to update the running ones.
      momentum: decay of the running statistics.
      epsilon: added to the variance.
    """
    chosen = net.batch_norm_momentum
    return partial(
        BatchNorm,
        use_running_average=not train,
        momentum=momentum if chosen is None else chosen,
        epsilon=epsilon,
        dtype=net.dtype,
    )


def channels_first(x: jax.Array) -> jax.Array:
    """(N, H, W, C) -> (C, N, H, W)."""
    return jnp.moveaxis(x, -1, 0)


def channels_last(x: jax.Array) -> jax.Array:
    """(C, N, H, W) -> (N, H, W, C)."""
    return jnp.moveaxis(x, 0, -1)


def keras_padding(shape: tuple[int, ...], kernel_size: int, stride: int) -> Padding:
    """Zeros around (C, N, H, W) for a convolution in Keras' EfficientNet and MobileNet
    V3, which keep ceil(size / stride) rows and columns.

    With a stride of 2 and an even size there is one row less above than below.
    """
    half = kernel_size // 2
    height, width = ((half - (stride == 2 and n % 2 == 0), half) for n in shape[2:])
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
    return widened(x).mean((1, 2))


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
