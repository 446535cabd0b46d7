import jax.numpy as jnp
import pytest
from flax import linen as nn

from gpwjax import GroupedPointwise, count
from gpwjax.counts import LayerCount


class Net(nn.Module):
    """A net with a layer of each kind, small enough to count by hand."""

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.Conv(6, (3, 5), strides=2, feature_group_count=3, name="conv")(images)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        x = GroupedPointwise(8, groups=2, use_bias=True, name="grouped")(nn.relu(x))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(5, use_bias=False, name="head")(x.mean((1, 2)))


# A 7x8 image of 3 channels; stride 2 leaves 4x4 positions.
LAYERS = (
    # 3 * 5 * 1 inputs of a group * 6 features = 90 weights, each at 16 positions.
    LayerCount("conv", "Conv", (7, 8, 3), (4, 4, 6), 3, 90 + 6, 90 + 6, 90 * 16),
    # Scale and offset, running mean and variance.
    LayerCount("norm", "BatchNorm", (4, 4, 6), (4, 4, 6), 1, 12, 24, 0),
    # 2 groups of 3 inputs and 4 features.
    LayerCount(
        "grouped", "GroupedPointwise", (4, 4, 6), (4, 4, 8), 2, 24 + 8, 24 + 8, 24 * 16
    ),
    LayerCount("head", "Dense", (8,), (5,), 1, 40, 40, 40),
)


def test_layers_are_those_counted_by_hand():
    assert count(Net(), (7, 8, 3)).layers == LAYERS


def test_sums_are_those_counted_by_hand():
    counts = count(Net(), (7, 8, 3))
    assert counts.params == 96 + 12 + 32 + 40
    assert counts.params_total == 96 + 24 + 32 + 40
    assert counts.macs == 1440 + 384 + 40


def test_the_image_is_224x224_in_colour_if_not_said():
    assert count(Net()).layers[0].input_shape == (224, 224, 3)


def test_layers_inside_modules_are_named_by_their_path():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            return Net(name="inner")(images, train=train)

    names = [layer.name for layer in count(Outer(), (7, 8, 3)).layers]
    assert names == ["inner/conv", "inner/norm", "inner/grouped", "inner/head"]


def test_a_layer_applied_twice_has_its_parameters_once_and_its_macs_twice():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            layer = nn.Conv(3, (1, 1), name="shared")
            return layer(layer(images))

    counts = count(Twice(), (2, 5, 3))
    first, second = counts.layers
    assert (first.name, second.name) == ("shared", "shared")
    assert (first.params, second.params) == (12, 0)
    assert (counts.params, counts.params_total, counts.macs) == (12, 12, 2 * 9 * 10)


def test_a_block_applied_twice_has_the_macs_of_all_its_layers_twice():
    class Twice(nn.Module):
        def setup(self):
            self.block = nn.Sequential([nn.Dense(3), nn.BatchNorm(True), nn.Dense(3)])

        def __call__(self, images, *, train):
            return self.block(self.block(images))

    counts = count(Twice(), (2, 2, 3))
    assert (counts.params, counts.params_total) == (12 + 6 + 12, 12 + 12 + 12)
    assert counts.macs == 2 * (9 + 9) * 4


def test_a_modules_own_parameters_count_without_macs():
    class Scale(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            return images * self.param("scale", nn.initializers.ones, (3,))

    counts = count(Scale(), (2, 2, 3))
    assert (counts.params, counts.macs) == (3, 0)


def test_nothing_is_computed():
    class Huge(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            # 4 TB of weights.
            return nn.Dense(10**6)(nn.Dense(10**6)(images.astype(jnp.float32)))

    assert count(Huge(), (1000, 1000, 3)).params == (3 + 1 + 10**6 + 1) * 10**6


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_macs_count_each_position_of_the_output(padding):
    class Convolution(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            return nn.Conv(2, (3, 3), padding=padding, use_bias=False)(images)

    positions = {"SAME": 6 * 5, "VALID": 4 * 3}[padding]
    assert count(Convolution(), (6, 5, 3)).macs == 3 * 3 * 3 * 2 * positions
