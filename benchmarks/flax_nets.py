"""The four nets as one would write them in Flax without gpwjax's layers, to compare
their speed with.

Maps are (N, H, W, C), convolutions `nn.Conv` with `feature_group_count`, norms
`nn.BatchNorm`. The modules carry gpwjax's names, so that its variables fit in
(`load_variables`); the draw of the first weights is Flax's own.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpwjax import densenet, efficientnet, mobilenet, mobilenet_v3
from gpwjax.inverted_residual import round_channels
from gpwjax.net import small_image_strides
from gpwjax.ops import activations
from gpwjax.ops.arrays import Padding, keras_padding
from gpwjax.pointwise import num_groups

Activation = Callable[[jax.Array], jax.Array]
MakeModule = Callable[..., nn.Module]

# gpwjax's own reshape their arrays, for the sake of XLA:CPU.
PLAIN = {activations.relu: nn.relu, activations.hard_swish: nn.hard_swish}


def identity(x: jax.Array) -> jax.Array:
    return x


def interleave(x: jax.Array, step: int) -> jax.Array:
    """Reorders the channels to 0, step, 2 * step, ..., 1, step + 1, ..."""
    matrix = x.reshape(*x.shape[:-1], x.shape[-1] // step, step)
    return matrix.swapaxes(-2, -1).reshape(x.shape)


def same_padding(x: jax.Array, kernel_size: int, stride: int) -> Padding:
    """Keras' zeros around (N, H, W, C)."""
    n, height, width, c = x.shape
    return keras_padding((c, n, height, width), kernel_size, stride)


class Pointwise(nn.Module):
    """A 1x1 convolution or K, interleave, L, sum: (..., in) -> (..., features)."""

    features: int
    min_channels: int | None
    conv: MakeModule
    norm: MakeModule | None
    activation: Activation = identity
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        in_features, groups = x.shape[-1], 1
        if self.min_channels is not None:
            groups = num_groups(in_features, self.features, self.min_channels)
        conv = partial(self.conv, self.features, (1, 1), feature_group_count=groups)

        def convolve(x: jax.Array, name: str) -> jax.Array:
            x = conv(use_bias=self.use_bias, name=name)(x)
            return self.activation(x if self.norm is None else self.norm()(x))

        k = convolve(x, "K")
        if groups == 1:
            return k
        mixed = interleave(k, self.features // groups)
        return mixed if in_features < self.features else convolve(mixed, "L") + k


class Layers(NamedTuple):
    """What makes a net's layers."""

    conv: MakeModule
    norm: MakeModule
    pointwise: MakeModule

    def depthwise(self, x: jax.Array, k: int, stride: int, padding: Any) -> jax.Array:
        """Depthwise k x k convolution and norm."""
        conv = partial(self.conv, x.shape[-1], (k, k), stride, padding)
        x = conv(feature_group_count=x.shape[-1], name="depthwise")(x)
        return self.norm(name="depthwise_norm")(x)


class Net(nn.Module):
    """(N, H, W, 3) images -> (N, classes) float32 logits; see `create_model`."""

    classes: int
    min_channels: int | None = None
    small_images: bool = False
    dtype: Any = None
    pointwise_activation: Activation | None = None

    def layers(self, train: bool, **norm: float) -> Layers:
        settings = {"momentum": 0.99, "epsilon": 1e-3, "dtype": self.dtype} | norm
        norm = partial(nn.BatchNorm, not train, **settings)
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        pointwise = partial(
            Pointwise, min_channels=self.min_channels, conv=conv, norm=norm
        )
        return Layers(conv, norm, pointwise)

    def strides(self, stages: Iterable[tuple[int, int]]) -> list[int]:
        """Of the stem and of each block; stages are (blocks, stride of the first)."""
        blocks = [s if i == 0 else 1 for n, s in stages for i in range(n)]
        return small_image_strides([2, *blocks], self.small_images)

    def classify(self, x: jax.Array, train: bool, dropout: float = 0.0) -> jax.Array:
        """Logits of (N, H, W, C), in float32 whatever the dtype of these maps."""
        x = x.mean((1, 2), dtype=jnp.float32)
        x = nn.Dropout(dropout)(x, deterministic=not train)
        return nn.Dense(self.classes, name="head")(x)


class MobileNetBlock(nn.Module):
    """Depthwise 3x3 and pointwise."""

    features: int
    stride: int
    activation: Activation
    layers: Layers

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        padding = mobilenet.padding(self.stride)
        x = nn.relu6(self.layers.depthwise(x, 3, self.stride, padding))
        pointwise = partial(self.layers.pointwise, activation=self.activation)
        return pointwise(self.features, name="pointwise")(x)


class MobileNet(Net):
    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        stages, layers = mobilenet.STAGES, self.layers(train)
        stem, *strides = self.strides((s.blocks, s.stride) for s in stages)
        x = layers.conv(32, (3, 3), stem, mobilenet.padding(stem), name="stem")(x)
        x = nn.relu6(layers.norm(name="stem_norm")(x))
        usual = nn.relu6 if self.min_channels is None else nn.swish
        activation = self.pointwise_activation or usual
        widths = [s.features for s in stages for _ in range(s.blocks)]
        for i, block in enumerate(zip(widths, strides, strict=True)):
            x = MobileNetBlock(*block, activation, layers, name=f"block{i}")(x)
        return self.classify(x, train, dropout=1e-3)


class SqueezeExcite(nn.Module):
    """A factor for each channel: (N, H, W, C) -> (N, H, W, C)."""

    features: int
    activation: Activation
    gate: Activation
    pointwise: MakeModule

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        pointwise = partial(self.pointwise, norm=None, use_bias=True)
        y = x.mean((1, 2), keepdims=True)
        y = pointwise(self.features, activation=self.activation, name="reduce")(y)
        return x * pointwise(x.shape[-1], activation=self.gate, name="expand")(y)


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-and-excitation, project, with a way around them."""

    features: int
    expanded: int
    kernel_size: int
    stride: int
    activation: Activation
    squeeze: MakeModule | None
    drop_rate: float
    layers: Layers

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        x, k, pointwise = inputs, self.kernel_size, self.layers.pointwise
        if self.expanded != x.shape[-1]:
            expand = partial(pointwise, activation=self.activation, name="expand")
            x = expand(self.expanded)(x)
        padding = same_padding(x, k, self.stride)
        x = self.activation(self.layers.depthwise(x, k, self.stride, padding))
        if self.squeeze is not None:
            x = self.squeeze(pointwise, name="squeeze_excite")(x)
        x = pointwise(self.features, name="project")(x)
        if self.stride != 1 or x.shape != inputs.shape:
            return x
        drop = nn.Dropout(self.drop_rate, broadcast_dims=(1, 2, 3))
        return inputs + drop(x, deterministic=not train)


class EfficientNetB0(Net):
    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        stages, layers = efficientnet.STAGES, self.layers(train)
        stem, *strides = self.strides((s.blocks, s.stride) for s in stages)
        # Padded as for stride 2 even where it is 1, like the paper's net.
        x = layers.conv(32, (3, 3), stem, same_padding(x, 3, 2), name="stem")(x)
        x = nn.swish(layers.norm(name="stem_norm")(x))
        blocks = [stage for stage in stages for _ in range(stage.blocks)]
        for i, (stage, stride) in enumerate(zip(blocks, strides, strict=True)):
            width = x.shape[-1]
            sizes = stage.features, width * stage.expansion, stage.kernel_size, stride
            squeeze = partial(SqueezeExcite, width // 4, nn.swish, nn.sigmoid)
            rate = efficientnet.DROP_CONNECT * i / len(blocks)
            block = partial(InvertedResidual, *sizes, nn.swish, squeeze, rate, layers)
            x = block(name=f"block{i}")(x, train=train)
        activation = nn.swish if self.min_channels is None else identity
        x = layers.pointwise(1280, activation=activation, name="top")(x)
        return self.classify(x, train, dropout=0.2)


class MobileNetV3Large(Net):
    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        stages, layers = mobilenet_v3.STAGES, self.layers(train, momentum=0.999)
        if self.min_channels is not None:  # another momentum in K and L
            norm = partial(layers.norm, momentum=0.99)
            layers = layers._replace(pointwise=partial(layers.pointwise, norm=norm))
        stem, *strides = self.strides((len(s.expansions), s.stride) for s in stages)
        x = layers.conv(16, (3, 3), stem, same_padding(x, 3, stem), name="stem")(x)
        x = nn.hard_swish(layers.norm(name="stem_norm")(x))
        blocks = [(stage, factor) for stage in stages for factor in stage.expansions]
        for i, ((stage, factor), stride) in enumerate(
            zip(blocks, strides, strict=True)
        ):
            expanded = round_channels(factor * x.shape[-1])
            sizes = stage.features, expanded, stage.kernel_size, stride
            width = round_channels(expanded / 4)
            squeeze = partial(SqueezeExcite, width, nn.relu, nn.hard_sigmoid)
            parts = PLAIN[stage.activation], squeeze if stage.squeeze else None
            block = partial(InvertedResidual, *sizes, *parts, 0.0, layers)
            x = block(name=f"block{i}")(x, train=train)
        pointwise = partial(layers.pointwise, activation=nn.hard_swish)
        x = pointwise(960, name="top")(x)
        x = x.mean((1, 2), keepdims=True, dtype=jnp.float32)
        x = pointwise(1280, norm=None, use_bias=True, name="hidden")(x)
        return self.classify(x, train, dropout=0.2)


class DenseNetUnit(nn.Module):
    """Pointwise and 3x3, appended to the input."""

    before: Activation
    after: Activation
    layers: Layers

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        conv, norm, pointwise = self.layers
        x = self.before(norm(name="norm")(inputs))
        x = pointwise(densenet.BOTTLENECK, name="pointwise")(x)
        x = self.before(norm(name="pointwise_norm")(x))
        x = self.after(conv(densenet.GROWTH, (3, 3), name="conv")(x))
        return jnp.concatenate([inputs, x], axis=-1)


class DenseNetTransition(nn.Module):
    """Fewer channels and pixels."""

    before: Activation
    layers: Layers

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.before(self.layers.norm(name="norm")(x))
        features = int(x.shape[-1] * densenet.COMPRESSION)
        x = self.layers.pointwise(features, name="pointwise")(x)
        return nn.avg_pool(x, (2, 2), strides=(2, 2))


class DenseNet(Net):
    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        grouped, layers = (
            self.min_channels is not None,
            self.layers(train, epsilon=1.001e-5),
        )
        before, after = (identity, nn.relu) if grouped else (nn.relu, identity)
        activation = nn.swish if grouped else identity
        pointwise = partial(layers.pointwise, norm=None, activation=activation)
        layers, number = layers._replace(pointwise=pointwise), 0
        x = layers.conv(2 * densenet.GROWTH, (3, 3), use_bias=True, name="stem")(x)
        for stage, (units, _) in enumerate(densenet.STAGES):
            if stage > 0:
                x = interleave(x, densenet.GROWTH) if grouped else x
                x = DenseNetTransition(before, layers, name=f"transition{stage}")(x)
            for _ in range(units):
                x = DenseNetUnit(before, after, layers, name=f"block{number}")(x)
                number += 1
        x = layers.norm(name="top_norm")(x)
        return self.classify(nn.swish(x) if grouped else nn.relu(x), train)


NETS = {
    "densenet_bc_l100": DenseNet,
    "efficientnet_b0": EfficientNetB0,
    "mobilenet": MobileNet,
    "mobilenet_v3_large": MobileNetV3Large,
}


def create_model(
    name: str,
    classes: int,
    min_channels: int | None = None,
    small_images: bool = False,
    dtype: Any = None,
    pointwise_activation: Activation | None = None,
) -> nn.Module:
    """One of `NETS`, called like the nets of `gpwjax.create_model`.

    `pointwise_activation` takes the place of ReLU6 (dense) or swish (grouped) in the
    pointwise layers of MobileNet, so that both forms can have the same; other nets
    ignore it.
    """
    return NETS[name](classes, min_channels, small_images, dtype, pointwise_activation)


def load_variables(variables: dict) -> dict:
    """A gpwjax net's variables for the net here.

    Kernels of K and L, alone in having three axes, turn from (groups, in / groups,
    features / groups) to (1, 1, in / groups, features).
    """

    def convert(array: jax.Array) -> jax.Array:
        if array.ndim != 3:
            return array
        return array.swapaxes(0, 1).reshape(1, 1, array.shape[1], -1)

    return jax.tree.map(convert, variables)
