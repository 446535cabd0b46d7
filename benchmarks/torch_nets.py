"""The paper's four nets in PyTorch, to compare gpwjax's speed with.

Made of PyTorch's own layers. The modules have the names that they have in gpwjax, so
that its variables fit by their paths; tables of stages and the rules for groups,
strides, padding and widths are gpwjax's.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch import Tensor, nn
from torch.nn import functional

from gpwjax import densenet, efficientnet, mobilenet, mobilenet_v3, num_groups
from gpwjax.inverted_residual import round_channels
from gpwjax.net import small_image_strides
from gpwjax.ops import activations
from gpwjax.ops.arrays import Padding, keras_padding

Activation = Callable[[Tensor], Tensor]
Norm = Callable[[int], nn.Module]

# PyTorch's momentum is the weight of the new batch: 1 - gpwjax's. Its running variance
# is the unbiased one, unlike gpwjax's.
batch_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


def create_model(
    name: str,
    classes: int,
    min_channels: int | None = None,
    small_images: bool = False,
    pointwise_activation: Activation | None = None,
) -> nn.Sequential:
    """Makes a net by its name, dense or grouped: (N, 3, H, W) -> (N, classes) logits.

    Weights are drawn as PyTorch does by default.

    Args:
      name: one of `NETS`.
      classes: number of classes.
      min_channels: least number of input channels of a group; None: the dense net.
      small_images: stride 1 in the first three layers of stride 2.
      pointwise_activation: of MobileNet's pointwise layers; None: gpwjax's, ReLU6 in
        the dense net and swish in the grouped ones. The other nets ignore it.
    """
    if name == "mobilenet":
        return make_mobilenet(classes, min_channels, small_images, pointwise_activation)
    return NETS[name](classes, min_channels, small_images)


def load_variables(net: nn.Module, variables: Mapping) -> None:
    """Copies {"params": ..., "batch_stats": ...} of a gpwjax net into its like here.

    Raises:
      RuntimeError: the nets differ in a name or in a shape.
    """
    names = {"kernel": "weight", "scale": "weight"}
    names |= {"mean": "running_mean", "var": "running_var"}
    counter = "num_batches_tracked"  # not in Flax
    state = {k: v for k, v in net.state_dict().items() if k.endswith(counter)}
    for (_, *path, name), array in flatten_dict(variables).items():
        tensor = torch.tensor(in_torch_order(np.asarray(array)))
        state[".".join([*path, names.get(name, name)])] = tensor
    net.load_state_dict(state)


def in_torch_order(array: np.ndarray) -> np.ndarray:
    """An array of a Flax net with the axes of PyTorch, which are (out, in, ...)."""
    if array.ndim == 3:  # grouped pointwise: (groups, in / groups, out / groups)
        return array.swapaxes(1, 2).reshape(-1, array.shape[1], 1, 1)
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


class Layers(nn.Sequential):
    """The layers one after the other, by their names."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__(OrderedDict(layers))


class Residual(Layers):
    """The layers and a way around them; training drops the layers for some images."""

    def __init__(self, drop_rate: float, **layers: nn.Module) -> None:
        super().__init__(**layers)
        self.drop_rate = drop_rate

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.training and self.drop_rate > 0:
            y = y * functional.dropout(y.new_ones(len(y), 1, 1, 1), self.drop_rate)
        return x + y


class Appended(Layers):
    """What the layers make of the channels, appended to them."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], 1)


class Conv(nn.Conv2d):
    """A convolution with the zeros around its input that `zeros` gives for its shape.

    nn.Conv2d itself has as many before as after.
    """

    def __init__(
        self,
        *sizes: int,  # channels in and out, kernel, stride
        zeros: Callable[[tuple[int, ...]], Padding],
        groups: int = 1,
    ) -> None:
        super().__init__(*sizes, groups=groups, bias=False)
        self.zeros = zeros

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = self.zeros(x.shape)
        padding = (0, 0)
        if (top, left) == (bottom, right):
            padding = (top, left)  # no padded copy of x
        else:
            x = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(
            x, self.weight, None, self.stride, padding, groups=self.groups
        )


class Interleave(nn.Module):
    """Reorders channels to 0, step, 2 * step, ..., 1, step + 1, ..."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        # On (N, H, W, C), so that channels-last stays so: a reshape of (N, C, H, W), as
        # in nn.ChannelShuffle, would copy to channels-first.
        matrix = x.permute(0, 2, 3, 1).unflatten(3, (-1, self.step))
        return matrix.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)


class Pointwise(nn.Module):
    """A pointwise convolution, dense or as the paper's K, interleave, L, sum."""

    def __init__(
        self,
        in_features: int,
        features: int,
        min_channels: int | None,
        norm: Norm = nn.Identity,
        activation: Activation | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        groups = 1
        if min_channels is not None:
            groups = num_groups(in_features, features, min_channels)
        self.activation = nn.Identity() if activation is None else activation
        self.K = nn.Conv2d(in_features, features, 1, groups=groups, bias=bias)
        self.BatchNorm_0 = norm(features)
        self.interleave = Interleave(features // groups) if groups > 1 else None
        self.L = None
        if groups > 1 and in_features >= features:
            self.L = nn.Conv2d(features, features, 1, groups=groups, bias=bias)
            self.BatchNorm_1 = norm(features)

    def forward(self, x: Tensor) -> Tensor:
        k = self.activation(self.BatchNorm_0(self.K(x)))
        if self.interleave is None:
            return k
        mixed = self.interleave(k)
        if self.L is None:
            return mixed
        return self.activation(self.BatchNorm_1(self.L(mixed))) + k


class SqueezeExcite(Layers):
    """A factor for each of `c` channels, from the channels' means."""

    def __init__(
        self,
        c: int,
        squeezed: int,
        min_channels: int | None,
        activation: Activation,
        gate: Activation,
    ) -> None:
        pointwise = partial(Pointwise, min_channels=min_channels, bias=True)
        super().__init__(
            reduce=pointwise(c, squeezed, activation=activation),
            expand=pointwise(squeezed, c, activation=gate),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * super().forward(x.mean((2, 3), keepdim=True))


def layer_strides(stages: Iterable[tuple[int, int]], small_images: bool) -> list[int]:
    """Of the stem and of each block, from the stages' (blocks, stride of the first)."""
    of_blocks = [[stride] + [1] * (blocks - 1) for blocks, stride in stages]
    return small_image_strides([2, *sum(of_blocks, [])], small_images)


def make_mobilenet(
    classes: int,
    min_channels: int | None,
    small_images: bool,
    pointwise_activation: Activation | None = None,
) -> nn.Sequential:
    """As `gpwjax.mobilenet`."""
    if pointwise_activation is None:
        pointwise_activation = nn.ReLU6() if min_channels is None else nn.SiLU()
    stages = mobilenet.STAGES
    stem, *strides = layer_strides([(s.blocks, s.stride) for s in stages], small_images)
    widths = [stage.features for stage in stages for _ in range(stage.blocks)]

    def conv(in_features: int, features: int, stride: int, groups: int = 1) -> Conv:
        zeros = mobilenet.padding(stride)
        return Conv(
            in_features, features, 3, stride, zeros=lambda shape: zeros, groups=groups
        )

    blocks: dict[str, nn.Module] = {}
    c = 32
    for features, stride in zip(widths, strides, strict=True):
        blocks[f"block{len(blocks)}"] = Layers(
            depthwise=conv(c, c, stride, groups=c),
            depthwise_norm=batch_norm(c),
            activation=nn.ReLU6(),
            pointwise=Pointwise(
                c, features, min_channels, batch_norm, pointwise_activation
            ),
        )
        c = features
    return Layers(
        stem=conv(3, 32, stem),
        stem_norm=batch_norm(32),
        stem_activation=nn.ReLU6(),
        **blocks,
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(1e-3),
        head=nn.Linear(c, classes),
    )


def keras_conv(*sizes: int, groups: int = 1) -> Conv:
    """A convolution padded as in Keras' EfficientNet and MobileNet V3."""
    _, _, kernel_size, stride = sizes
    zeros = partial(keras_padding, kernel_size=kernel_size, stride=stride)
    return Conv(*sizes, zeros=zeros, groups=groups)


def inverted_residual(
    c: int,
    expanded: int,
    stage: efficientnet.Stage | mobilenet_v3.Stage,
    stride: int,
    activation: nn.Module,
    squeeze_excite: nn.Module,
    pointwise: Callable[..., Pointwise],
    norm: Norm,
    drop_rate: float = 0.0,
) -> Layers:
    """Expand, depthwise, squeeze-and-excitation, project, with a way around them."""
    expand = nn.Identity()
    if expanded != c:
        expand = pointwise(c, expanded, activation=activation)
    around = stride == 1 and c == stage.features
    return (partial(Residual, drop_rate) if around else Layers)(
        expand=expand,
        depthwise=keras_conv(
            expanded, expanded, stage.kernel_size, stride, groups=expanded
        ),
        depthwise_norm=norm(expanded),
        activation=activation,
        squeeze_excite=squeeze_excite,
        project=pointwise(expanded, stage.features),
    )


def make_efficientnet_b0(
    classes: int, min_channels: int | None, small_images: bool
) -> nn.Sequential:
    """As `gpwjax.efficientnet`."""
    swish = nn.SiLU()
    pointwise = partial(Pointwise, min_channels=min_channels, norm=batch_norm)
    stages = [stage for stage in efficientnet.STAGES for _ in range(stage.blocks)]
    stem, *strides = layer_strides(
        [(stage.blocks, stage.stride) for stage in efficientnet.STAGES], small_images
    )
    blocks: dict[str, nn.Module] = {}
    c = 32
    for number, (stage, stride) in enumerate(zip(stages, strides, strict=True)):
        expanded = c * stage.expansion
        squeeze = SqueezeExcite(expanded, c // 4, min_channels, swish, nn.Sigmoid())
        rate = efficientnet.DROP_CONNECT * number / len(stages)
        blocks[f"block{number}"] = inverted_residual(
            c, expanded, stage, stride, swish, squeeze, pointwise, batch_norm, rate
        )
        c = stage.features
    # Padded as for stride 2 whatever the stride is, as in gpwjax.
    stem_zeros = partial(keras_padding, kernel_size=3, stride=2)
    return Layers(
        stem=Conv(3, 32, 3, stem, zeros=stem_zeros),
        stem_norm=batch_norm(32),
        stem_activation=swish,
        **blocks,
        top=pointwise(c, 1280, activation=swish if min_channels is None else None),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(0.2),
        head=nn.Linear(1280, classes),
    )


def make_mobilenet_v3_large(
    classes: int, min_channels: int | None, small_images: bool
) -> nn.Sequential:
    """As `gpwjax.mobilenet_v3`."""
    hard_swish = nn.Hardswish()
    of_ours = {activations.relu: nn.ReLU(), activations.hard_swish: hard_swish}
    norm = partial(batch_norm, momentum=0.001)
    in_pointwise = norm if min_channels is None else batch_norm
    pointwise = partial(Pointwise, min_channels=min_channels, norm=in_pointwise)
    rows = [(stage, n) for stage in mobilenet_v3.STAGES for n in stage.expansions]
    stem, *strides = layer_strides(
        [(len(stage.expansions), stage.stride) for stage in mobilenet_v3.STAGES],
        small_images,
    )
    blocks: dict[str, nn.Module] = {}
    c = 16
    for (stage, expansion), stride in zip(rows, strides, strict=True):
        expanded = round_channels(expansion * c)
        squeeze = nn.Identity()
        if stage.squeeze:
            squeeze = SqueezeExcite(
                expanded,
                round_channels(expanded / 4),
                min_channels,
                nn.ReLU(),
                nn.Hardsigmoid(),
            )
        activation = of_ours[stage.activation]
        blocks[f"block{len(blocks)}"] = inverted_residual(
            c, expanded, stage, stride, activation, squeeze, pointwise, norm
        )
        c = stage.features
    return Layers(
        stem=keras_conv(3, 16, 3, stem),
        stem_norm=norm(16),
        stem_activation=hard_swish,
        **blocks,
        top=pointwise(c, 960, activation=hard_swish),
        pool=nn.AdaptiveAvgPool2d(1),
        hidden=Pointwise(960, 1280, min_channels, activation=hard_swish, bias=True),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(0.2),
        head=nn.Linear(1280, classes),
    )


def make_densenet_bc_l100(
    classes: int, min_channels: int | None, small_images: bool
) -> nn.Sequential:
    """As `gpwjax.densenet`."""
    grouped = min_channels is not None
    relu, swish, nothing = nn.ReLU(), nn.SiLU(), nn.Identity()
    before, after = (nothing, relu) if grouped else (relu, nothing)
    norm = partial(batch_norm, eps=1.001e-5)
    pointwise = partial(
        Pointwise, min_channels=min_channels, activation=swish if grouped else None
    )
    growth, bottleneck = densenet.GROWTH, densenet.BOTTLENECK
    stages: dict[str, nn.Module] = {}
    c, number = 2 * growth, 0
    for stage, (units, _) in enumerate(densenet.STAGES):
        if stage > 0:
            kept = int(c * densenet.COMPRESSION)
            stages[f"transition{stage}"] = Layers(
                interleave=Interleave(growth) if grouped else nothing,
                norm=norm(c),
                activation=before,
                pointwise=pointwise(c, kept),
                pool=nn.AvgPool2d(2),
            )
            c = kept
        for _ in range(units):
            stages[f"block{number}"] = Appended(
                norm=norm(c),
                activation=before,
                pointwise=pointwise(c, bottleneck),
                pointwise_norm=norm(bottleneck),
                pointwise_activation=before,
                conv=nn.Conv2d(bottleneck, growth, 3, padding=1, bias=False),
                conv_activation=after,
            )
            c += growth
            number += 1
    return Layers(
        stem=nn.Conv2d(3, 2 * growth, 3, padding=1),
        **stages,
        top_norm=norm(c),
        top_activation=swish if grouped else relu,
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        head=nn.Linear(c, classes),
    )


NETS = {
    "densenet_bc_l100": make_densenet_bc_l100,
    "efficientnet_b0": make_efficientnet_b0,
    "mobilenet": make_mobilenet,
    "mobilenet_v3_large": make_mobilenet_v3_large,
}
