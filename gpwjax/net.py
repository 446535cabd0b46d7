"""What all nets share: their options, their layers, and the way from images to logits.

Inside a net an array of images is (C, N, H, W); see `gpwjax.ops`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpwjax.checks import check_images, check_positive
from gpwjax.ops.activations import Activation
from gpwjax.ops.arrays import Padding
from gpwjax.ops.batch_norm import BatchNorm
from gpwjax.ops.convolution import Conv
from gpwjax.ops.depthwise import Depthwise
from gpwjax.ops.pooling import global_average
from gpwjax.ops.remat import rematerialised
from gpwjax.pointwise import Pointwise
from gpwjax.schemes import PAPERS, check_scheme

Make = Callable[..., nn.Module]


@dataclasses.dataclass(frozen=True)
class Layers:
    """What makes the layers of a net, with its options. Each block is given it.

    Attributes:
      conv, depthwise, pointwise: make convolutions of (C, N, H, W).
      norm: makes the normalisation of (C, N, H, W).
      grouped: whether the pointwise convolutions are grouped.
      train: whether the net is in train mode.
    """

    conv: Make
    depthwise: Make
    pointwise: Make
    norm: Make
    grouped: bool
    train: bool

    def having(self, **settings: dict[str, Any]) -> "Layers":
        """These layers with settings of their own, those of each by its name."""
        makers = {n: partial(getattr(self, n), **of) for n, of in settings.items()}
        return dataclasses.replace(self, **makers)


class Place(NamedTuple):
    """Where a block is in a net.

    Attributes:
      stage: the row of the net's table.
      index: number of the block in the stage, from 0.
      number: number of the block in the net, from 0.
      in_features: number of its input channels.
      stride: of the stage in its first block, 1 in the others.
    """

    stage: Any
    index: int
    number: int
    in_features: int
    stride: int


class Net(nn.Module):
    """A net: (N, H, W, 3) images in [0, 1] -> (N, classes) float32 logits.

    A net of its own has `stages`, `block` and `settings`, `apply_stem` and `apply_top`.
    (No method has the name of a part with parameters: `flax.nnx.bridge` would mix the
    two.)

    Attributes:
      classes: number of classes.
      min_channels: least number of input channels of a group of the pointwise
        convolutions; None: the dense net.
      small_images: stride 1 instead of 2 in the first three layers that have 2: for
        images of up to about 64 pixels. The paper's form of EfficientNet for 32x32
        pixels; the same of the MobileNets is ours. DenseNet-BC L100 and ConvMixer,
        nets for such images, have no such layers.
      dtype: dtype of the computation; parameters, batch statistics and logits are
        float32 whatever it is. None: float32.
      batch_norm_momentum: decay of the running statistics; None: the paper's.
      remat: whether training saves memory: computes each block again for its gradient.
      scheme: of the grouped pointwise convolutions, "divisible", "any" or "parallel";
        see `gpwjax.pointwise`. A dense net has none.
      stages: the net's table; a row has the number of its `blocks` and the `stride` of
        the first of them.

    Raises:
      ValueError: `classes` or `min_channels` is less than 1, there is no such scheme,
        or the images are not (N, H, W, C) floats of at least `min_size` pixels.
    """

    classes: int
    min_channels: int | None = None
    small_images: bool = False
    dtype: Any = None
    batch_norm_momentum: float | None = None
    remat: bool = False
    scheme: str = PAPERS
    stages: tuple[Any, ...] = ()

    block: ClassVar[type[nn.Module]]  # called with Layers and its `settings`
    stem_stride: ClassVar[int] = 2
    dropout_rate: ClassVar[float] = 0.0  # before the head
    dropout_name: ClassVar[str] = "dropout"  # on which what is dropped depends
    head_init: ClassVar[Callable] = staticmethod(nn.initializers.glorot_uniform())

    def __post_init__(self) -> None:
        check_positive("classes", self.classes)
        if self.min_channels is not None:
            check_positive("min_channels", self.min_channels)
        check_scheme(self.scheme)
        if self.dtype is not None:
            self.dtype = jnp.dtype(self.dtype)  # so that equal settings are equal nets
        super().__post_init__()

    def setup(self) -> None:
        self.dropout = nn.Dropout(self.dropout_rate, name=self.dropout_name)
        self.head = nn.Dense(self.classes, kernel_init=self.head_init)

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        return self.classify(self.features(images, train=train)["top"], train=train)

    @nn.compact
    def features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """The maps at the end of the stem and of each stage, and before the pooling.

        Returns:
          {"stem": (N, H, W, C), "stage1": ..., "stage2": ..., "top": ...}.
        """
        check_images(images, self.min_size)
        layers, numbers = self.layers(train), count()
        block = rematerialised(self.block) if self.remat else self.block
        x = self.apply_stem(channels_first(images), layers)
        maps = {"stem": x}
        table = zip(self.stages, self.blocks_per_stage, self.strides[1:], strict=True)
        for stage, (row, blocks, stride) in enumerate(table, start=1):
            x = self.apply_transition(x, layers, stage)
            for index, number in zip(range(blocks), numbers, strict=False):
                first = stride if index == 0 else 1
                place = Place(row, index, number, x.shape[0], first)
                x = block(layers, **self.settings(place), name=f"block{number}")(x)
            maps[f"stage{stage}"] = x
        maps["top"] = self.apply_top(x, layers)
        return jax.tree.map(channels_last, maps)

    def classify(self, top: jax.Array, *, train: bool) -> jax.Array:
        """The logits (N, classes) of the maps before the pooling, (N, H, W, C)."""
        x = self.hidden_layers(global_average(top))
        return self.head(self.dropout(x, deterministic=not train))

    def apply_stem(self, x: jax.Array, layers: Layers) -> jax.Array:
        """What is before the first stage: images (3, N, H, W) -> (C, N, H', W')."""
        raise NotImplementedError

    def convolve_stem(
        self,
        x: jax.Array,
        layers: Layers,
        features: int,
        padding: Padding,
        activation: Activation,
    ) -> jax.Array:
        """What most nets begin with: a 3x3 convolution, norm and activation."""
        x = layers.conv(features, self.strides[0], padding, name="stem")(x)
        return activation(layers.norm(name="stem_norm")(x))

    def apply_transition(self, x: jax.Array, layers: Layers, stage: int) -> jax.Array:
        """What is before the blocks of a stage, numbered from 1."""
        return x

    def settings(self, place: Place) -> dict[str, Any]:
        """The fields of a block, but for its layers."""
        return {}

    def apply_top(self, x: jax.Array, layers: Layers) -> jax.Array:
        """What is between the last stage and the pooling."""
        return x

    def hidden_layers(self, means: jax.Array) -> jax.Array:
        """What is between the pooling and the head: (N, C) -> (N, C')."""
        return means

    def layers(self, train: bool) -> Layers:
        """The layers with the net's options."""
        norm = self.batch_norm(train)
        return Layers(
            conv=partial(Conv, dtype=self.dtype),
            depthwise=partial(Depthwise, dtype=self.dtype),
            pointwise=partial(
                Pointwise,
                min_channels=self.min_channels,
                norm=norm,
                dtype=self.dtype,
                axis=0,
                scheme=self.scheme,
            ),
            norm=norm,
            grouped=self.min_channels is not None,
            train=train,
        )

    def batch_norm(
        self, train: bool, momentum: float = 0.99, epsilon: float = 1e-3
    ) -> Make:
        """Makes batch normalisations; `momentum` is for nets without one of theirs."""
        chosen = self.batch_norm_momentum
        return partial(
            BatchNorm,
            use_running_average=not train,
            momentum=momentum if chosen is None else chosen,
            epsilon=epsilon,
            dtype=self.dtype,
        )

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Number of blocks of each stage."""
        return tuple(row.blocks for row in self.stages)

    @property
    def strides(self) -> list[int]:
        """Of the stem, and of the first block of each stage."""
        strides = [self.stem_stride, *(row.stride for row in self.stages)]
        return small_image_strides(strides, self.small_images)

    @property
    def has_later_scheme(self) -> bool:
        """Whether the net is grouped, and by another scheme than the paper's."""
        return self.min_channels is not None and self.scheme != PAPERS

    @property
    def min_size(self) -> int:
        """Least height and width of an image."""
        return 1


OPTIONS = tuple(
    field.name
    for field in dataclasses.fields(Net)
    if field.name not in ("stages", "parent", "name")
)


def channels_first(x: jax.Array) -> jax.Array:
    """(N, H, W, C) -> (C, N, H, W)."""
    return jnp.moveaxis(x, -1, 0)


def channels_last(x: jax.Array) -> jax.Array:
    """(C, N, H, W) -> (N, H, W, C)."""
    return jnp.moveaxis(x, 0, -1)


def small_image_strides(strides: Sequence[int], small_images: bool) -> list[int]:
    """The strides of a net's layers: for small images the first three 2s become 1s."""
    strides = list(strides)
    if small_images:
        for i in [i for i, stride in enumerate(strides) if stride == 2][:3]:
            strides[i] = 1
    return strides


def stage_of_block(name: str, model: Net) -> tuple[int, int]:
    """Stage of a block (from 1) and its number in the stage (from 0)."""
    number = int(name.removeprefix("block"))
    for stage, blocks in enumerate(model.blocks_per_stage, start=1):
        if number < blocks:
            return stage, number
        number -= blocks
    raise KeyError(name)
