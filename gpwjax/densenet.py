"""DenseNet-BC L100 (growth 12) with dense or grouped pointwise convolutions.

Huang et al.: Densely Connected Convolutional Networks, arXiv 1608.06993, Section 3;
kDenseNet: Schuler et al., Mendel 28(1), 2022.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpwjax.conv import Conv
from gpwjax.layers import (
    Pointwise,
    batch_norm,
    channels_first,
    channels_last,
    check_images,
    global_average,
    relu,
    swish,
)
from gpwjax.pointwise import interleave
from gpwjax.remat import rematerialised

UNITS = (16, 16, 16)  # of each stage
GROWTH = 12  # channels that a unit adds
BOTTLENECK = 4 * GROWTH
COMPRESSION = 0.5  # of the channels, by a transition between stages


def identity(x: jax.Array) -> jax.Array:
    return x


class Unit(nn.Module):
    """Pointwise and 3x3, appended to the input: (C, N, H, W) -> (C + GROWTH, N, H, W).

    Dense: norm, ReLU, pointwise, norm, ReLU, 3x3. The paper's kDenseNet: norm,
    pointwise with swish in K and L, norm, 3x3, ReLU.
    """

    pointwise: Callable[..., nn.Module]
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    grouped: bool

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        before, after = (identity, relu) if self.grouped else (relu, identity)
        x = before(self.norm(name="norm")(inputs))
        x = self.pointwise(BOTTLENECK, name="pointwise")(x)
        x = before(self.norm(name="pointwise_norm")(x))
        x = after(self.conv(GROWTH, name="conv")(x))
        return jnp.concatenate([inputs, x])


class Transition(nn.Module):
    """Fewer channels and pixels: (C, N, H, W) -> (C / 2, N, H / 2, W / 2).

    Dense: norm, ReLU, pointwise, average pool. The paper's kDenseNet: interleave, norm,
    pointwise with swish in K and L, average pool.
    """

    pointwise: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    grouped: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.grouped:
            x = interleave(x, GROWTH, axis=0)
        x = self.norm(name="norm")(x)
        if not self.grouped:
            x = relu(x)
        x = self.pointwise(int(len(x) * COMPRESSION), name="pointwise")(x)
        return nn.avg_pool(x[..., None], (2, 2), strides=(2, 2))[..., 0]


class DenseNet(nn.Module):
    """DenseNet-BC L100: (N, H, W, 3) images in [0, 1] -> (N, classes) float32 logits.

    Attributes:
      classes: number of classes.
      min_channels: least number of input channels of a group of the pointwise
        convolutions (paper: 12, 24); None: the dense DenseNet.
      small_images: changes nothing: DenseNet-BC L100 is a net for 32x32 pixels.
      dtype: dtype of the computation; parameters, batch statistics and logits are
        float32 whatever it is.
      batch_norm_momentum: decay of the running statistics; None: the paper's 0.99.
      remat: whether training saves memory: computes each block again for its gradient.

    Raises:
      ValueError: the images are not (N, H, W, C) floats of at least 4x4 pixels, or
        `min_channels` is less than 1.
    """

    classes: int
    min_channels: int | None = None
    small_images: bool = False
    dtype: Any = None
    batch_norm_momentum: float | None = None
    remat: bool = False

    blocks_per_stage: ClassVar[tuple[int, ...]] = UNITS

    def setup(self) -> None:
        self.head = nn.Dense(self.classes, kernel_init=nn.initializers.glorot_uniform())

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        return self.head(global_average(self.features(images, train=train)["top"]))

    @nn.compact
    def features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """The maps at the end of the stem and of each stage, and before the pooling.

        Returns:
          {"stem": (N, H, W, C), "stage1": ..., "stage3": ..., "top": ...}.
        """
        check_images(images, min_size=2 ** (len(UNITS) - 1))
        grouped = self.min_channels is not None
        norm = batch_norm(self, train=train, epsilon=1.001e-5)
        conv = partial(Conv, dtype=self.dtype)
        pointwise = partial(
            Pointwise,
            min_channels=self.min_channels,
            activation=swish if grouped else None,
            dtype=self.dtype,
        )
        maps = {
            "stem": conv(2 * GROWTH, use_bias=True, name="stem")(channels_first(images))
        }
        x, number = maps["stem"], 0
        block = rematerialised(Unit) if self.remat else Unit
        for stage, units in enumerate(UNITS, start=1):
            if stage > 1:
                transition = Transition(
                    pointwise, norm, grouped, name=f"transition{stage - 1}"
                )
                x = transition(x)
            for _ in range(units):
                x = block(pointwise, conv, norm, grouped, name=f"block{number}")(x)
                number += 1
            maps[f"stage{stage}"] = x
        activation = swish if grouped else relu
        maps["top"] = activation(norm(name="top_norm")(x))
        return jax.tree.map(channels_last, maps)
