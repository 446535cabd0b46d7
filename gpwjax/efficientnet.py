"""EfficientNet-B0 to B7 with dense or grouped pointwise convolutions.

Tan and Le: EfficientNet, arXiv 1905.11946, Tables 1 and 8; kEfficientNet: Schuler et
al., Mendel 28(1), 2022.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from gpwjax.conv import Conv
from gpwjax.depthwise import Depthwise
from gpwjax.layers import (
    InvertedResidual,
    Pointwise,
    SqueezeExcite,
    batch_norm,
    channels_first,
    channels_last,
    check_images,
    global_average,
    keras_padding,
    round_channels,
    small_image_strides,
    swish,
)
from gpwjax.pointwise import glorot_uniform
from gpwjax.remat import rematerialised


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
B0_BLOCKS = sum(stage.blocks for stage in STAGES)

# Keras' initialisers of the dense EfficientNet, for kernels of (k, k, in, features), of
# (groups, in, features) and of (k, k, 1, channels), whose fan out is k * k in Keras.
he_normal = partial(nn.initializers.variance_scaling, 2.0, "fan_out")
stem_init = he_normal("truncated_normal")
pointwise_init = he_normal("truncated_normal", in_axis=1, out_axis=(0, 2))
depthwise_init = he_normal("truncated_normal", in_axis=-1, out_axis=-2)
head_init = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")


class EfficientNet(nn.Module):
    """EfficientNet: (N, H, W, 3) images in [0, 1] -> (N, classes) float32 logits.

    Attributes:
      classes: number of classes.
      width: factor of all widths.
      depth: factor of the number of blocks of each stage.
      dropout: share of the last features that training drops.
      min_channels: least number of input channels of a group of the pointwise
        convolutions (paper: 16, 32); None: the dense EfficientNet.
      small_images: stride 1 instead of 2 in the stem and in stages 2 and 3, the paper's
        net for 32x32 pixels.
      dtype: dtype of the computation; parameters, batch statistics and logits are
        float32 whatever it is.
      batch_norm_momentum: decay of the running statistics; None: the paper's 0.99.
      remat: whether training saves memory: computes each block again for its gradient.

    Raises:
      ValueError: the images are not (N, H, W, C) floats, or leave no pixel, or
        `min_channels` is less than 1.
    """

    classes: int
    width: float = 1.0
    depth: float = 1.0
    dropout: float = 0.2
    min_channels: int | None = None
    small_images: bool = False
    dtype: Any = None
    batch_norm_momentum: float | None = None
    remat: bool = False

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Number of blocks of each stage."""
        return tuple(math.ceil(self.depth * stage.blocks) for stage in STAGES)

    def setup(self) -> None:
        self.last_dropout = nn.Dropout(self.dropout)
        self.head = nn.Dense(self.classes, kernel_init=head_init)

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        x = global_average(self.features(images, train=train)["top"])
        return self.head(self.last_dropout(x, deterministic=not train))

    @nn.compact
    def features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """The maps at the end of the stem and of each stage, and before the pooling.

        Returns:
          {"stem": (N, H, W, C), "stage1": ..., "stage7": ..., "top": ...}.
        """
        # The paper's net for small images pads the stem as for stride 2, which takes a
        # row and a column of even images.
        check_images(images, min_size=1)
        dense = self.min_channels is None
        norm = batch_norm(self, train=train)
        pointwise = partial(
            Pointwise,
            min_channels=self.min_channels,
            norm=norm,
            kernel_init=pointwise_init if dense else glorot_uniform,
            dtype=self.dtype,
        )
        depthwise = partial(Depthwise, kernel_init=depthwise_init, dtype=self.dtype)
        strides = small_image_strides(
            [2, *(stage.stride for stage in STAGES)], self.small_images
        )
        x = channels_first(images)
        padding = keras_padding(x.shape, 3, 2)
        width = round_channels(32 * self.width)
        x = Conv(width, strides[0], padding, self.dtype, stem_init, name="stem")(x)
        maps = {"stem": swish(norm(name="stem_norm")(x))}
        x, number = maps["stem"], 0
        block = rematerialised(InvertedResidual) if self.remat else InvertedResidual
        for stage, (settings, blocks) in enumerate(
            zip(STAGES, self.blocks_per_stage, strict=True), start=1
        ):
            for i in range(blocks):
                in_features = len(x)
                x = block(
                    features=round_channels(settings.features * self.width),
                    expanded=in_features * settings.expansion,
                    kernel_size=settings.kernel_size,
                    stride=strides[stage] if i == 0 else 1,
                    activation=swish,
                    squeeze=partial(
                        SqueezeExcite,
                        max(1, in_features // 4),
                        activation=swish,
                        gate=nn.sigmoid,
                        pointwise=pointwise,
                    ),
                    # By B0's number of blocks in all sizes, as in Keras: beyond 0.2 in
                    # the larger ones.
                    drop_rate=DROP_CONNECT * number / B0_BLOCKS,
                    pointwise=pointwise,
                    depthwise=depthwise,
                    norm=norm,
                    train=train,
                    name=f"block{number}",
                )(x)
                number += 1
            maps[f"stage{stage}"] = x
        # The paper's kEfficientNet has no activation here.
        activation = swish if dense else None
        top = pointwise(
            round_channels(1280 * self.width), activation=activation, name="top"
        )
        return jax.tree.map(channels_last, maps | {"top": top(x)})


# Width, depth and dropout of the sizes (Tan and Le's code).
EfficientNetB0 = partial(EfficientNet, width=1.0, depth=1.0, dropout=0.2)
EfficientNetB1 = partial(EfficientNet, width=1.0, depth=1.1, dropout=0.2)
EfficientNetB2 = partial(EfficientNet, width=1.1, depth=1.2, dropout=0.3)
EfficientNetB3 = partial(EfficientNet, width=1.2, depth=1.4, dropout=0.3)
EfficientNetB4 = partial(EfficientNet, width=1.4, depth=1.8, dropout=0.4)
EfficientNetB5 = partial(EfficientNet, width=1.6, depth=2.2, dropout=0.4)
EfficientNetB6 = partial(EfficientNet, width=1.8, depth=2.6, dropout=0.5)
EfficientNetB7 = partial(EfficientNet, width=2.0, depth=3.1, dropout=0.5)
