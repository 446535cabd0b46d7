"""DenseNet-BC L100 (growth 12) with dense or grouped pointwise convolutions.

Huang et al.: Densely Connected Convolutional Networks, arXiv 1608.06993, Section 3;
kDenseNet: Schuler et al., Mendel 28(1), 2022.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpwjax.net import Layers, Net
from gpwjax.ops.activations import relu, swish
from gpwjax.ops.pooling import halved
from gpwjax.pointwise import interleave

GROWTH = 12  # channels that a unit adds
BOTTLENECK = 4 * GROWTH
COMPRESSION = 0.5  # of the channels, by a transition between stages


class Stage(NamedTuple):
    """Units; before all stages but the first is a transition."""

    blocks: int
    stride: int = 1


STAGES = (Stage(16), Stage(16), Stage(16))


def identity(x: jax.Array) -> jax.Array:
    return x


class Unit(nn.Module):
    """Pointwise and 3x3, appended to the input: (C, N, H, W) -> (C + GROWTH, N, H, W).

    Dense: norm, ReLU, pointwise, norm, ReLU, 3x3. The paper's kDenseNet: norm,
    pointwise with swish in K and L, norm, 3x3, ReLU.
    """

    layers: Layers

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        layers = self.layers
        before, after = (identity, relu) if layers.grouped else (relu, identity)
        x = before(layers.norm(name="norm")(inputs))
        x = layers.pointwise(BOTTLENECK, name="pointwise")(x)
        x = before(layers.norm(name="pointwise_norm")(x))
        x = after(layers.conv(GROWTH, name="conv")(x))
        return jnp.concatenate([inputs, x])


class Transition(nn.Module):
    """Fewer channels and pixels: (C, N, H, W) -> (C / 2, N, H / 2, W / 2).

    Dense: norm, ReLU, pointwise, average pool. The paper's kDenseNet: interleave, norm,
    pointwise with swish in K and L, average pool.
    """

    layers: Layers

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layers = self.layers
        if layers.grouped:
            x = interleave(x, GROWTH, axis=0)
        x = layers.norm(name="norm")(x)
        if not layers.grouped:
            x = relu(x)
        x = layers.pointwise(int(x.shape[0] * COMPRESSION), name="pointwise")(x)
        return halved(x)


class DenseNet(Net):
    """DenseNet-BC L100, in the paper with 12 and 24 channels per group; see `Net`.

    A net for images of 32x32 pixels; they have at least 4x4.
    """

    stages: tuple[Stage, ...] = STAGES

    block = Unit
    stem_stride = 1

    def apply_stem(self, x: jax.Array, layers: Layers) -> jax.Array:
        return layers.conv(2 * GROWTH, use_bias=True, name="stem")(x)

    def apply_transition(self, x: jax.Array, layers: Layers, stage: int) -> jax.Array:
        return x if stage == 1 else Transition(layers, name=f"transition{stage - 1}")(x)

    def apply_top(self, x: jax.Array, layers: Layers) -> jax.Array:
        activation = swish if layers.grouped else relu
        return activation(layers.norm(name="top_norm")(x))

    def layers(self, train: bool) -> Layers:
        layers = super().layers(train)
        activation = swish if layers.grouped else None
        return layers.having(
            pointwise={"norm": None, "activation": activation},
            norm={"epsilon": 1.001e-5},
        )

    @property
    def min_size(self) -> int:
        return 2 ** (len(self.stages) - 1)
