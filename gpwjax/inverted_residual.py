"""The block of EfficientNet and of MobileNet V3."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpwjax.net import Layers
from gpwjax.ops.activations import Activation
from gpwjax.ops.arrays import keras_padding
from gpwjax.ops.pooling import add_images, image_means, times_images


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: a factor for each channel, from the channels' means.

    (C, N, H, W) -> (C, N, H, W). Hu et al., arXiv 1709.01507.

    Attributes:
      layers: the layers of the net.
      features: width between the two pointwise layers.
      activation: after the first of them.
      gate: after the second, gives the factors.
    """

    layers: Layers
    features: int
    activation: Activation
    gate: Activation

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def pointwise(
            x: jax.Array, features: int, activation: Activation, name: str
        ) -> jax.Array:
            return self.layers.pointwise(
                features, norm=None, activation=activation, use_bias=True, name=name
            )(x)

        squeezed = pointwise(image_means(x), self.features, self.activation, "reduce")
        return times_images(x, pointwise(squeezed, x.shape[0], self.gate, "expand"))


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-and-excitation, project, with a way around them.

    (C, N, H, W) -> (features, N, H', W'). The way around is there where the stride is 1
    and C = features. Sandler et al., arXiv 1801.04381, Fig. 4; Howard et al., arXiv
    1905.02244, Fig. 4.

    Attributes:
      layers: the layers of the net.
      features: number of output channels.
      expanded: number of channels of the depthwise convolution; not expanded where the
        input has as many.
      kernel_size, stride: of the depthwise convolution.
      activation: of the expansion and of the depthwise convolution.
      squeeze: makes the squeeze-and-excitation for layers; None: without.
      drop_rate: share of the images for which training drops all but the way around
        (drop-connect).
    """

    layers: Layers
    features: int
    expanded: int
    kernel_size: int
    stride: int
    activation: Activation
    squeeze: Callable[..., nn.Module] | None = None
    drop_rate: float = 0.0

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        x, layers = inputs, self.layers
        if self.expanded != x.shape[0]:
            expand = layers.pointwise(
                self.expanded, activation=self.activation, name="expand"
            )
            x = expand(x)
        padding = keras_padding(x.shape, self.kernel_size, self.stride)
        x = layers.depthwise(self.kernel_size, self.stride, padding, name="depthwise")(
            x
        )
        x = self.activation(layers.norm(name="depthwise_norm")(x))
        if self.squeeze is not None:
            x = self.squeeze(layers, name="squeeze_excite")(x)
        x = layers.pointwise(self.features, name="project")(x)
        if self.stride != 1 or x.shape != inputs.shape:
            return x
        # 0 for an image that is dropped.
        drop = nn.Dropout(self.drop_rate, deterministic=not layers.train)
        return add_images(inputs, x, drop(jnp.ones((1, x.shape[1], 1, 1), x.dtype)))


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, or the next one where that is below 90%.

    Howard et al.'s rule for the widths of MobileNet V3 and EfficientNet.
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
