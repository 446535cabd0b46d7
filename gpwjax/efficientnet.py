"""EfficientNet-B0 to B7 with dense or grouped pointwise convolutions.

Tan and Le: EfficientNet, arXiv 1905.11946, Tables 1 and 8; kEfficientNet: Schuler et
al., Mendel 28(1), 2022.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from flax.linen.initializers import variance_scaling

from gpwjax.inverted_residual import InvertedResidual, SqueezeExcite, round_channels
from gpwjax.net import Layers, Net, Place
from gpwjax.ops.activations import swish
from gpwjax.ops.arrays import keras_padding


class Stage(NamedTuple):
    """Blocks of equal width; all but the first have stride 1."""

    blocks: int
    kernel_size: int
    stride: int
    expansion: int
    features: int


# Of B0; the other sizes have more and wider blocks.
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
DROP_CONNECT = 0.2

# Keras' initialisers, of kernels (k, k, in, features), (k, k, 1, channels), whose fan
# out is k * k there, and, in the dense net, (groups, in, features).
he_normal = partial(variance_scaling, 2.0, "fan_out", "truncated_normal")
stem_init, depthwise_init = he_normal(), he_normal(in_axis=-1, out_axis=-2)
pointwise_init = he_normal(in_axis=1, out_axis=(0, 2))


class EfficientNet(Net):
    """EfficientNet, in the paper with 16 and 32 channels per group; see `Net`."""

    stages: tuple[Stage, ...] = STAGES
    width: float = 1.0  # factor of all widths
    depth: float = 1.0  # factor of the number of blocks of each stage
    dropout_rate: float = 0.2  # share of the last features that training drops

    block = InvertedResidual
    dropout_name = "last_dropout"
    head_init = staticmethod(variance_scaling(1 / 3, "fan_out", "uniform"))

    def apply_stem(self, x: jax.Array, layers: Layers) -> jax.Array:
        # As for stride 2 in the paper's net for small images too: even ones shrink.
        zeros = keras_padding(x.shape, 3, 2)
        return self.convolve_stem(x, layers, self.scaled(32), zeros, swish)

    def settings(self, place: Place) -> dict[str, Any]:
        stage, b0_blocks = place.stage, sum(row.blocks for row in self.stages)
        squeeze = partial(SqueezeExcite, activation=swish, gate=nn.sigmoid)
        return {
            "features": self.scaled(stage.features),
            "expanded": place.in_features * stage.expansion,
            "kernel_size": stage.kernel_size,
            "stride": place.stride,
            "activation": swish,
            "squeeze": partial(squeeze, features=max(1, place.in_features // 4)),
            # By B0's blocks in all sizes, as in Keras: the larger ones drop more.
            "drop_rate": DROP_CONNECT * place.number / b0_blocks,
        }

    def apply_top(self, x: jax.Array, layers: Layers) -> jax.Array:
        # The paper's kEfficientNet has no activation here.
        activation = None if layers.grouped else swish
        return layers.pointwise(self.scaled(1280), activation=activation, name="top")(x)

    def layers(self, train: bool) -> Layers:
        layers = super().layers(train)
        if not layers.grouped:
            layers = layers.having(pointwise={"kernel_init": pointwise_init})
        return layers.having(
            conv={"kernel_init": stem_init}, depthwise={"kernel_init": depthwise_init}
        )

    def scaled(self, features: int) -> int:
        return round_channels(features * self.width)

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        return tuple(math.ceil(self.depth * stage.blocks) for stage in self.stages)


# Width, depth and dropout of the sizes (Tan and Le's code).
EfficientNetB0 = partial(EfficientNet, width=1.0, depth=1.0, dropout_rate=0.2)
EfficientNetB1 = partial(EfficientNet, width=1.0, depth=1.1, dropout_rate=0.2)
EfficientNetB2 = partial(EfficientNet, width=1.1, depth=1.2, dropout_rate=0.3)
EfficientNetB3 = partial(EfficientNet, width=1.2, depth=1.4, dropout_rate=0.3)
EfficientNetB4 = partial(EfficientNet, width=1.4, depth=1.8, dropout_rate=0.4)
EfficientNetB5 = partial(EfficientNet, width=1.6, depth=2.2, dropout_rate=0.4)
EfficientNetB6 = partial(EfficientNet, width=1.8, depth=2.6, dropout_rate=0.5)
EfficientNetB7 = partial(EfficientNet, width=2.0, depth=3.1, dropout_rate=0.5)
