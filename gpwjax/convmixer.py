"""ConvMixer-256/8 with dense or grouped pointwise convolutions.

Trockman and Kolter: Patches Are All You Need?, arXiv 2201.09792, Section 2 and its
CIFAR-10 experiments; the grouped form is ours.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from gpwjax.net import Layers, Make, Net, Place
from gpwjax.ops.activations import add, gelu

PATCH_SIZE = 2  # pixels on each axis that become one


class Stage(NamedTuple):
    """Blocks of equal width; a ConvMixer has one row of them."""

    blocks: int
    features: int
    kernel_size: int
    stride: int = 1


STAGES = (Stage(8, 256, 5),)

# Uniform up to the root of 1 / fan in, as in the authors' PyTorch; biases begin at 0.
uniform = partial(nn.initializers.variance_scaling, 1 / 3, "fan_in", "uniform")


class ActivatedNorm(nn.Module):
    """GELU and then batch normalisation, of (C, N, H, W)."""

    norm: Make

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(name="norm")(gelu(x))


class Block(nn.Module):
    """Depthwise beside a shortcut, and pointwise: (C, N, H, W) -> (F, N, H, W)."""

    layers: Layers
    features: int
    kernel_size: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layers, k = self.layers, self.kernel_size
        zeros = ((k - 1) // 2, k // 2)
        y = layers.depthwise(k, 1, (zeros, zeros), name="depthwise")(x)
        x = add(x, layers.norm(name="depthwise_norm")(y))
        return layers.pointwise(self.features, name="pointwise")(x)


class ConvMixer(Net):
    """ConvMixer with 256 channels, 8 blocks, kernels of 5 and patches of 2; see `Net`.

    A net for images of 32x32 pixels; they have at least 2x2. 88% of the dense net's
    parameters are in pointwise convolutions.
    """

    stages: tuple[Stage, ...] = STAGES

    block = Block
    stem_stride = 1  # of patches
    head_init = staticmethod(uniform())

    def apply_stem(self, x: jax.Array, layers: Layers) -> jax.Array:
        p, features = PATCH_SIZE, self.stages[0].features
        conv = partial(layers.conv, kernel_size=p, padding=((0, 0), (0, 0)))
        x = conv(features, p, name="stem")(x)
        return layers.norm(name="stem_norm")(x)

    def settings(self, place: Place) -> dict[str, Any]:
        return {
            "features": place.stage.features,
            "kernel_size": place.stage.kernel_size,
        }

    def layers(self, train: bool) -> Layers:
        batch_norm = self.batch_norm(train, momentum=0.9, epsilon=1e-5)
        norm = partial(ActivatedNorm, batch_norm)
        kernel = {"use_bias": True, "kernel_init": uniform()}
        grouped = kernel | {"kernel_init": uniform(in_axis=1, out_axis=(0, 2))}
        layers = super().layers(train)
        layers = layers.having(conv=kernel, depthwise=kernel, pointwise=grouped)
        return dataclasses.replace(layers.having(pointwise={"norm": norm}), norm=norm)

    @property
    def min_size(self) -> int:
        return PATCH_SIZE
