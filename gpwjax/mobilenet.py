"""MobileNet with dense or grouped pointwise convolutions.

Howard et al.: MobileNets, arXiv 1704.04861, Table 1; kMobileNet: Schuler et al., Mendel
28(1), 2022.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
from flax import linen as nn

from gpwjax.conv import Conv
from gpwjax.depthwise import Depthwise, Padding
from gpwjax.layers import (
    Pointwise,
    batch_norm,
    channels_first,
    channels_last,
    check_images,
    global_average,
    relu6,
    small_image_strides,
    swish,
)
from gpwjax.remat import rematerialised

# (blocks, features, stride of the first block) of each stage. Howard et al. print
# stride 2 for the last block, but its input and output are both 7x7, so it is 1.
STAGES = ((1, 64, 1), (2, 128, 2), (2, 256, 2), (6, 512, 2), (2, 1024, 2))


def padding(stride: int) -> Padding:
    """Zeros around the input of a 3x3 convolution (paper's code: below and right)."""
    return ((1, 1), (1, 1)) if stride == 1 else ((0, 1), (0, 1))


class Block(nn.Module):
    """Depthwise 3x3 and pointwise: (C, N, H, W) -> (F, N, H / stride, W / stride)."""

    features: int
    stride: int
    min_channels: int | None
    norm: Callable[[], nn.Module]
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Depthwise(
            3, self.stride, padding(self.stride), dtype=self.dtype, name="depthwise"
        )(x)
        x = relu6(self.norm(name="depthwise_norm")(x))
        return Pointwise(
            self.features,
            self.min_channels,
            norm=self.norm,
            # The paper's kMobileNet has swish here, and ReLU6 everywhere else.
            activation=relu6 if self.min_channels is None else swish,
            dtype=self.dtype,
            name="pointwise",
        )(x)


class MobileNet(nn.Module):
    """MobileNet: (N, H, W, 3) images in [0, 1] -> (N, classes) float32 logits.

    Attributes:
      classes: number of classes.
      min_channels: least number of input channels of a group of the pointwise
        convolutions (paper: 16, 32, 64, 128); None: the dense MobileNet.
      small_images: stride 1 instead of 2 in the stem and the first two blocks that
        have 2: for images of 4 to about 64 pixels (ours; the paper's has none).
      dtype: dtype of the computation; parameters, batch statistics and logits are
        float32 whatever it is.
      batch_norm_momentum: decay of the running statistics; None: the paper's 0.99.
      remat: whether training saves memory: computes each block again for its gradient.

    Raises:
      ValueError: the images are not (N, H, W, C) floats of at least 32x32 pixels (4x4
        with `small_images`), or `min_channels` is less than 1.
    """

    classes: int
    min_channels: int | None = None
    small_images: bool = False
    dtype: Any = None
    batch_norm_momentum: float | None = None
    remat: bool = False

    blocks_per_stage: ClassVar[tuple[int, ...]] = tuple(blocks for blocks, *_ in STAGES)

    def setup(self) -> None:
        self.dropout = nn.Dropout(1e-3)
        self.head = nn.Dense(self.classes, kernel_init=nn.initializers.glorot_uniform())

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        x = global_average(self.features(images, train=train)["top"])
        return self.head(self.dropout(x, deterministic=not train))

    @nn.compact
    def features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """The maps at the end of the stem and of each stage, and before the pooling.

        Returns:
          {"stem": (N, H, W, C), "stage1": ..., "stage5": ..., "top": ...}.
        """
        strides = small_image_strides([2, *(s for *_, s in STAGES)], self.small_images)
        check_images(images, min_size=math.prod(strides))
        norm = batch_norm(self, train=train)
        stem = Conv(32, strides[0], padding(strides[0]), dtype=self.dtype, name="stem")
        x = stem(channels_first(images))
        maps = {"stem": relu6(norm(name="stem_norm")(x))}
        x, number = maps["stem"], 0
        block = rematerialised(Block) if self.remat else Block
        for stage, (blocks, features, _) in enumerate(STAGES, start=1):
            for i in range(blocks):
                stride = strides[stage] if i == 0 else 1
                x = block(
                    features,
                    stride,
                    self.min_channels,
                    norm,
                    self.dtype,
                    name=f"block{number}",
                )(x)
                number += 1
            maps[f"stage{stage}"] = x
        return jax.tree.map(channels_last, maps | {"top": x})
