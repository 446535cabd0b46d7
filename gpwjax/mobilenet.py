"""MobileNet with dense or grouped pointwise convolutions.

Howard et al.: MobileNets, arXiv 1704.04861, Table 1; kMobileNet: Schuler et al., Mendel
28(1), 2022.
"""

import math
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from gpwjax.net import Layers, Net, Place
from gpwjax.ops.activations import relu6, swish
from gpwjax.ops.arrays import Padding


class Stage(NamedTuple):
    """Blocks of equal width; all but the first have stride 1."""

    blocks: int
    features: int
    stride: int


# Howard et al. print stride 2 for the last block, but its input and output are both
# 7x7, so it is 1.
STAGES = (
    Stage(1, 64, 1),
    Stage(2, 128, 2),
    Stage(2, 256, 2),
    Stage(6, 512, 2),
    Stage(2, 1024, 2),
)


def padding(stride: int) -> Padding:
    """Zeros around the input of a 3x3 convolution (paper's code: below and right)."""
    return ((1, 1), (1, 1)) if stride == 1 else ((0, 1), (0, 1))


class Block(nn.Module):
    """Depthwise 3x3 and pointwise: (C, N, H, W) -> (F, N, H / stride, W / stride)."""

    layers: Layers
    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layers, zeros = self.layers, padding(self.stride)
        x = layers.depthwise(3, self.stride, zeros, name="depthwise")(x)
        x = relu6(layers.norm(name="depthwise_norm")(x))
        # The paper's kMobileNet has swish here, and ReLU6 everywhere else.
        activation = swish if layers.grouped else relu6
        return layers.pointwise(self.features, activation=activation, name="pointwise")(
            x
        )


class MobileNet(Net):
    """MobileNet, in the paper with 16, 32, 64 and 128 channels per group; see `Net`.

    Images have at least 32x32 pixels, with `small_images` 4x4.
    """

    stages: tuple[Stage, ...] = STAGES

    block = Block
    dropout_rate = 1e-3

    def apply_stem(self, x: jax.Array, layers: Layers) -> jax.Array:
        return self.convolve_stem(x, layers, 32, padding(self.strides[0]), relu6)

    def settings(self, place: Place) -> dict[str, Any]:
        return {"features": place.stage.features, "stride": place.stride}

    @property
    def min_size(self) -> int:
        return math.prod(self.strides)
