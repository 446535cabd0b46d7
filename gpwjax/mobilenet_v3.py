"""MobileNet V3 Large with dense or grouped pointwise convolutions.

Howard et al.: Searching for MobileNetV3, arXiv 1905.02244, Table 1; the grouped form:
Schuler et al., Mendel 28(1), 2022.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from gpwjax.inverted_residual import InvertedResidual, SqueezeExcite, round_channels
from gpwjax.net import Layers, Net, Place
from gpwjax.ops.activations import Activation, hard_swish, relu
from gpwjax.ops.arrays import keras_padding


class Stage(NamedTuple):
    """Blocks of equal width; all but the first have stride 1."""

    features: int
    kernel_size: int
    stride: int
    squeeze: bool
    activation: Activation
    expansions: tuple[float, ...]  # of each block

    @property
    def blocks(self) -> int:
        return len(self.expansions)


STAGES = (
    Stage(16, 3, 1, False, relu, (1,)),
    Stage(24, 3, 2, False, relu, (4, 3)),
    Stage(40, 5, 2, True, relu, (3, 3, 3)),
    Stage(80, 3, 2, False, hard_swish, (6, 2.5, 2.3, 2.3)),
    Stage(112, 3, 1, True, hard_swish, (6, 6)),
    Stage(160, 5, 2, True, hard_swish, (6, 6, 6)),
)


class MobileNetV3Large(Net):
    """MobileNet V3 Large, in the paper with 16 and 32 channels per group; see `Net`.

    The momentum of the batch normalisation is 0.999, in K and L 0.99.
    """

    stages: tuple[Stage, ...] = STAGES

    block = InvertedResidual
    dropout_rate = 0.2

    def setup(self) -> None:
        super().setup()
        pointwise = partial(self.layers(train=False).pointwise, norm=None, axis=-1)
        self.hidden = pointwise(1280, activation=hard_swish, use_bias=True)

    def apply_stem(self, x: jax.Array, layers: Layers) -> jax.Array:
        zeros = keras_padding(x.shape, 3, self.strides[0])
        return self.convolve_stem(x, layers, 16, zeros, hard_swish)

    def settings(self, place: Place) -> dict[str, Any]:
        stage = place.stage
        expanded = round_channels(stage.expansions[place.index] * place.in_features)
        squeeze = partial(SqueezeExcite, activation=relu, gate=nn.hard_sigmoid)
        squeeze = partial(squeeze, features=round_channels(expanded / 4))
        return {
            "features": stage.features,
            "expanded": expanded,
            "kernel_size": stage.kernel_size,
            "stride": place.stride,
            "activation": stage.activation,
            "squeeze": squeeze if stage.squeeze else None,
        }

    def apply_top(self, x: jax.Array, layers: Layers) -> jax.Array:
        return layers.pointwise(960, activation=hard_swish, name="top")(x)

    def hidden_layers(self, means: jax.Array) -> jax.Array:
        return self.hidden(means).astype(means.dtype)  # float32 from here on

    def layers(self, train: bool) -> Layers:
        layers, norm = super().layers(train), self.batch_norm(train, momentum=0.999)
        if not layers.grouped:
            layers = layers.having(pointwise={"norm": norm})
        return dataclasses.replace(layers, norm=norm)
