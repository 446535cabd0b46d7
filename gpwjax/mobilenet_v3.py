"""MobileNet V3 Large with dense or grouped pointwise convolutions.

Howard et al.: Searching for MobileNetV3, arXiv 1905.02244, Table 1; the grouped form:
Schuler et al., Mendel 28(1), 2022.
"""

from functools import partial
from typing import Any, ClassVar, NamedTuple

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
    hard_swish,
    keras_padding,
    relu,
    round_channels,
    small_image_strides,
)
from gpwjax.remat import rematerialised


class Stage(NamedTuple):
    """Blocks of equal width; all but the first have stride 1."""

    features: int
    kernel_size: int
    stride: int
    squeeze: bool
    activation: Any
    expansions: tuple[float, ...]  # of each block


STAGES = (
    Stage(16, 3, 1, False, relu, (1,)),
    Stage(24, 3, 2, False, relu, (4, 3)),
    Stage(40, 5, 2, True, relu, (3, 3, 3)),
    Stage(80, 3, 2, False, hard_swish, (6, 2.5, 2.3, 2.3)),
    Stage(112, 3, 1, True, hard_swish, (6, 6)),
    Stage(160, 5, 2, True, hard_swish, (6, 6, 6)),
)


class MobileNetV3Large(nn.Module):
    """MobileNet V3 Large: (N, H, W, 3) images in [0, 1] -> (N, classes) float32 logits.

    Attributes:
      classes: number of classes.
      min_channels: least number of input channels of a group of the pointwise
        convolutions (paper: 16, 32); None: the dense MobileNet V3 Large.
      small_images: stride 1 instead of 2 in the stem and in stages 2 and 3: for images
        of up to about 64 pixels (ours; the paper's has none).
      dtype: dtype of the computation; parameters, batch statistics and logits are
        float32 whatever it is.
      batch_norm_momentum: decay of the running statistics; None: the paper's 0.999, in
        K and L 0.99.
      remat: whether training saves memory: computes each block again for its gradient.

    Raises:
      ValueError: the images are not (N, H, W, C) floats of at least one pixel, or
        `min_channels` is less than 1.
    """

    classes: int
    min_channels: int | None = None
    small_images: bool = False
    dtype: Any = None
    batch_norm_momentum: float | None = None
    remat: bool = False

    blocks_per_stage: ClassVar[tuple[int, ...]] = tuple(
        len(stage.expansions) for stage in STAGES
    )

    def setup(self) -> None:
        self.hidden = Pointwise(
            1280,
            self.min_channels,
            activation=hard_swish,
            use_bias=True,
            dtype=self.dtype,
            axis=-1,  # of means (N, C)
        )
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Dense(self.classes, kernel_init=nn.initializers.glorot_uniform())

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        x = global_average(self.features(images, train=train)["top"])
        x = self.hidden(x).astype(x.dtype)  # float32 from here on
        return self.head(self.dropout(x, deterministic=not train))

    @nn.compact
    def features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """The maps at the end of the stem and of each stage, and before the pooling.

        Returns:
          {"stem": (N, H, W, C), "stage1": ..., "stage6": ..., "top": ...}.
        """
        check_images(images, min_size=1)
        norm = batch_norm(self, train=train, momentum=0.999)
        grouped_norm = batch_norm(self, train=train, momentum=0.99)
        pointwise = partial(
            Pointwise,
            min_channels=self.min_channels,
            norm=norm if self.min_channels is None else grouped_norm,
            dtype=self.dtype,
        )
        strides = small_image_strides(
            [2, *(stage.stride for stage in STAGES)], self.small_images
        )
        x = channels_first(images)
        padding = keras_padding(x.shape, 3, strides[0])
        x = Conv(16, strides[0], padding, dtype=self.dtype, name="stem")(x)
        maps = {"stem": hard_swish(norm(name="stem_norm")(x))}
        x, number = maps["stem"], 0
        block = rematerialised(InvertedResidual) if self.remat else InvertedResidual
        for stage, settings in enumerate(STAGES, start=1):
            for i, expansion in enumerate(settings.expansions):
                expanded = round_channels(expansion * len(x))
                squeeze = partial(
                    SqueezeExcite,
                    round_channels(expanded / 4),
                    activation=relu,
                    gate=nn.hard_sigmoid,
                    pointwise=pointwise,
                )
                x = block(
                    features=settings.features,
                    expanded=expanded,
                    kernel_size=settings.kernel_size,
                    stride=strides[stage] if i == 0 else 1,
                    activation=settings.activation,
                    squeeze=squeeze if settings.squeeze else None,
                    drop_rate=0.0,
                    pointwise=pointwise,
                    depthwise=partial(Depthwise, dtype=self.dtype),
                    norm=norm,
                    train=train,
                    name=f"block{number}",
                )(x)
                number += 1
            maps[f"stage{stage}"] = x
        top = pointwise(960, activation=hard_swish, name="top")
        return jax.tree.map(channels_last, maps | {"top": top(x)})
