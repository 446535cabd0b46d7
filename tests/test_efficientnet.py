import math
import re

import jax
import numpy as np
import pytest
from flax import linen as nn

from gpwjax import create_model
from gpwjax.ops.activations import swish
from gpwjax.ops.batch_norm import BatchNorm

# Blocks of each stage and dropout (Tan and Le's code).
SIZES = {
    "efficientnet_b0": ((1, 2, 2, 3, 3, 4, 1), 0.2),
    "efficientnet_b1": ((2, 3, 3, 4, 4, 5, 2), 0.2),
    "efficientnet_b2": ((2, 3, 3, 4, 4, 5, 2), 0.3),
    "efficientnet_b3": ((2, 3, 3, 5, 5, 6, 2), 0.3),
    "efficientnet_b4": ((2, 4, 4, 6, 6, 8, 2), 0.4),
    "efficientnet_b5": ((3, 5, 5, 7, 7, 9, 3), 0.4),
    "efficientnet_b6": ((3, 6, 6, 8, 8, 11, 3), 0.5),
    "efficientnet_b7": ((4, 7, 7, 10, 10, 13, 4), 0.5),
}
# Of B0, by min_channels.
NETS = {
    channels: create_model("efficientnet_b0", 10, channels) for channels in (None, 16)
}


@pytest.mark.parametrize(
    ("small_images", "height", "width", "rows", "columns"),
    [
        # Of the stem and of the seven stages: half, rounded up, for each stride of 2.
        (False, 224, 65, [112, 112, 56, 28, 14, 14, 7, 7], [33, 33, 17, 9, 5, 5, 3, 3]),
        (False, 1, 2, [1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1]),
        # The stem takes a row and a column of even images (PAPER.md, section 2).
        (True, 32, 33, [31, 31, 31, 31, 16, 16, 8, 8], [33, 33, 33, 33, 17, 17, 9, 9]),
        (True, 1, 2, [1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_sizes_of_the_maps(map_shapes, small_images, height, width, rows, columns):
    net = create_model("efficientnet_b0", 10, small_images=small_images)
    maps = map_shapes(net, height, width)
    features = (32, 16, 24, 40, 80, 112, 192, 320)
    names = ("stem", *(f"stage{i}" for i in range(1, 8)))
    expected = dict(zip(names, zip(rows, columns, features, strict=True), strict=True))
    assert maps == expected | {"top": (rows[-1], columns[-1], 1280)}


@pytest.mark.parametrize(
    ("shape", "dtype", "rule"),
    [
        ((1, 0, 5, 3), np.float32, "at least 1x1 pixels for this net, got 0x5"),
        ((1, 5, 5, 3), np.uint8, "must be floats in [0, 1], got dtype uint8"),
    ],
)
def test_refuses_images(shape, dtype, rule):
    with pytest.raises(ValueError, match=re.escape(rule)):
        NETS[None].init(jax.random.key(0), np.zeros(shape, dtype), train=False)


@pytest.mark.parametrize("name", SIZES)
def test_blocks_and_dropout_of_each_size(name):
    net = create_model(name, 10)
    assert (net.blocks_per_stage, net.dropout_rate) == SIZES[name]


def drop_rates(modules):
    """Number of each block that drops images -> the share that it drops."""
    return {
        int(path.removeprefix("block").split("/")[0]): module.rate
        for path, (module, _) in modules.items()
        if isinstance(module, nn.Dropout) and path.startswith("block")
    }


def test_blocks_with_a_way_around_drop_images_more_often_the_later_they_are(modules_of):
    expected = {b: 0.2 * b / 16 for b in (2, 4, 6, 7, 9, 10, 12, 13, 14)}
    assert drop_rates(modules_of(NETS[None])) == pytest.approx(expected)


def test_the_last_block_of_b1_drops_images_as_in_keras(modules_of):
    rates = drop_rates(modules_of(create_model("efficientnet_b1", 10)))
    assert (len(rates), max(rates)) == (23 - 7, 22)
    assert rates[22] == pytest.approx(0.275)


@pytest.mark.parametrize("min_channels", NETS)
def test_squeeze_and_excitation_is_a_quarter_as_wide_as_the_blocks_input(
    modules_of, min_channels
):
    modules = modules_of(NETS[min_channels])
    widths = [modules[f"block{i}/squeeze_excite/reduce"][0].features for i in range(16)]
    inputs = (32, 16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192)
    assert widths == [width // 4 for width in inputs]


def test_only_the_grouped_top_has_no_activation(modules_of):
    assert modules_of(NETS[16])["top"][0].activation is None
    assert modules_of(NETS[None])["top"][0].activation is swish


@pytest.mark.parametrize("min_channels", NETS)
def test_batch_norms_are_the_papers(norms_of, min_channels):
    norms = norms_of(NETS[min_channels]).values()
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(1e-3, 0.99)}


@pytest.mark.parametrize(
    ("min_channels", "path", "fan_out"),
    [
        (None, "stem", 9 * 32),
        # Keras' kernel is (k, k, channels, 1), so its fan out is k * k.
        (None, "block1/depthwise", 9),
        (16, "block14/depthwise", 25),
        (None, "block1/expand/K", 96),
        (None, "block12/squeeze_excite/reduce/K", 48),
        (None, "top/K", 1280),
    ],
)
def test_kernels_drawn_from_a_truncated_normal(
    kernel_spread, min_channels, path, fan_out
):
    deviation = math.sqrt(2 / fan_out)
    # Cut at two deviations of a normal that is as much wider as this narrows it.
    expected = deviation, 2 * deviation / 0.87962566
    assert kernel_spread(NETS[min_channels], path) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("min_channels", "path", "variance"),
    [
        # Glorot: 2 / (in + out), of the inputs of a group and of all features.
        (16, "block4/project/K", 2 / (24 + 40)),
        (16, "block4/project/L", 2 / (4 + 40)),
        (16, "block12/squeeze_excite/reduce/K", 2 / (24 + 48)),
        (None, "head", 1 / (3 * 10)),
        (16, "head", 1 / (3 * 10)),
    ],
)
def test_kernels_drawn_uniformly(kernel_spread, min_channels, path, variance):
    expected = math.sqrt(variance), math.sqrt(3 * variance)
    assert kernel_spread(NETS[min_channels], path) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("min_channels", NETS)
def test_biases_begin_at_zero(modules_of, min_channels):
    modules = modules_of(NETS[min_channels]).values()
    inits = {
        module.bias_init
        for module, shapes in modules
        if "bias" in shapes and not isinstance(module, BatchNorm)
    }
    assert inits
    assert all(not init(jax.random.key(0), (3,)).any() for init in inits)
