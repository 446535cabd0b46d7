import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given
from hypothesis import strategies as st

from gpwjax import create_model
from gpwjax.inverted_residual import round_channels

NETS = {
    channels: create_model("mobilenet_v3_large", 10, channels)
    for channels in (None, 16)
}


@pytest.mark.parametrize(
    ("small_images", "height", "width", "rows", "columns"),
    [
        # Of the stem and of the six stages: half, rounded up, for each stride of 2.
        (False, 224, 65, [112, 112, 56, 28, 14, 14, 7], [33, 33, 17, 9, 5, 5, 3]),
        (False, 1, 2, [1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]),
        (True, 32, 33, [32, 32, 32, 32, 16, 16, 8], [33, 33, 33, 33, 17, 17, 9]),
    ],
)
def test_sizes_of_the_maps(map_shapes, small_images, height, width, rows, columns):
    net = create_model("mobilenet_v3_large", 10, small_images=small_images)
    maps = map_shapes(net, height, width)
    features = (16, 16, 24, 40, 80, 112, 160)
    names = ("stem", *(f"stage{i}" for i in range(1, 7)))
    expected = dict(zip(names, zip(rows, columns, features, strict=True), strict=True))
    assert maps == expected | {"top": (rows[-1], columns[-1], 960)}


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


@pytest.mark.parametrize("min_channels", NETS)
def test_widths_of_the_blocks_are_those_of_the_v3_paper(modules_of, min_channels):
    modules = modules_of(NETS[min_channels])
    expanded = [modules[f"block{i}/depthwise"][1]["kernel"][-1] for i in range(15)]
    # Howard et al., Table 1; its 672 of block 12 is that of six times 112.
    assert expanded == [
        *(16, 64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960)
    ]
    squeezed = {
        path.split("/")[0]: module.features
        for path, (module, _) in modules.items()
        if path.endswith("squeeze_excite/reduce")
    }
    blocks = [f"block{i}" for i in (3, 4, 5, 10, 11, 12, 13, 14)]
    widths = [24, 32, 32, 120, 168, 168, 240, 240]
    assert squeezed == dict(zip(blocks, widths, strict=True))


@pytest.mark.parametrize(
    ("channels", "rounded"),
    [(2.5 * 80, 200), (2.3 * 80, 184), (18, 24), (19, 24), (20, 24), (17, 16), (1, 8)],
)
def test_round_channels_of_known_widths(channels, rounded):
    assert round_channels(channels) == rounded


@given(st.floats(1, 1e5))
def test_round_channels_is_a_near_multiple_of_8_of_at_least_90_percent(channels):
    rounded = round_channels(channels)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * channels
    assert abs(rounded - channels) < 8


def test_only_the_last_dropout_drops(modules_of):
    rates = {
        path: module.rate
        for path, (module, _) in modules_of(NETS[16]).items()
        if isinstance(module, nn.Dropout)
    }
    assert {path: rate for path, rate in rates.items() if rate} == {"dropout": 0.2}


@pytest.mark.parametrize(
    ("min_channels", "setting", "momentum", "momentum_of_k_and_l"),
    [(None, None, 0.999, 0.999), (16, None, 0.999, 0.99), (16, 0.9, 0.9, 0.9)],
)
def test_batch_norms_are_the_papers(
    norms_of, min_channels, setting, momentum, momentum_of_k_and_l
):
    net = create_model(
        "mobilenet_v3_large", 10, min_channels, batch_norm_momentum=setting
    )
    for path, norm in norms_of(net).items():
        in_k_or_l = path.split("/")[-1].startswith("BatchNorm_")
        expected = momentum_of_k_and_l if in_k_or_l else momentum
        assert (norm.epsilon, norm.momentum) == (1e-3, expected), path


@pytest.mark.parametrize(
    ("min_channels", "path", "fan_in", "fan_out"),
    [
        (None, "stem", 9 * 3, 9 * 16),
        # Keras' kernel is (k, k, channels, 1): k * k * channels come in, k * k go out.
        (16, "block14/depthwise", 25 * 960, 25),
        (None, "block1/expand/K", 16, 64),
        (None, "block3/squeeze_excite/reduce/K", 72, 24),
        (16, "block3/squeeze_excite/reduce/K", 18, 24),
        (16, "block3/project/L", 10, 40),
        (16, "hidden/K", 24, 1280),
        (16, "head", 1280, 10),
    ],
)
def test_kernels_are_drawn_glorot_uniform(
    kernel_spread, min_channels, path, fan_in, fan_out
):
    limit = math.sqrt(6 / (fan_in + fan_out))
    expected = limit / math.sqrt(3), limit
    assert kernel_spread(NETS[min_channels], path) == pytest.approx(expected, rel=0.05)


def test_bfloat16_is_the_dtype_of_all_maps():
    net = create_model("mobilenet_v3_large", 10, 16, dtype=jnp.bfloat16)
    init = partial(net.init_with_output, train=False, method="features")
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    maps, _ = jax.eval_shape(init, jax.random.key(0), images)
    assert {x.dtype for x in maps.values()} == {jnp.dtype(jnp.bfloat16)}
