import dataclasses
import math
import re

import jax
import numpy as np
import pytest

from gpwjax import create_model
from gpwjax.densenet import DenseNet, Transition, Unit
from gpwjax.net import Layers, channels_last
from gpwjax.pointwise import interleave

NETS = {
    channels: create_model("densenet_bc_l100", 10, channels) for channels in (None, 12)
}


@pytest.mark.parametrize(
    ("small_images", "height", "width", "rows", "columns"),
    [
        # Of the stem and of the three stages: half, rounded down, after each stage.
        (False, 32, 47, [32, 32, 16, 8], [47, 47, 23, 11]),
        (True, 4, 7, [4, 4, 2, 1], [7, 7, 3, 1]),
    ],
)
def test_sizes_of_the_maps(map_shapes, small_images, height, width, rows, columns):
    net = create_model("densenet_bc_l100", 10, 12, small_images)
    # 16 units add 12 channels each, and a transition halves them.
    features = (24, 24 + 192, 108 + 192, 150 + 192)
    sizes = dict(
        zip(
            ("stem", "stage1", "stage2", "stage3"),
            zip(rows, columns, features, strict=True),
            strict=True,
        )
    )
    assert map_shapes(net, height, width) == sizes | {"top": sizes["stage3"]}


@pytest.mark.parametrize(
    ("shape", "dtype", "rule"),
    [
        ((1, 3, 4, 3), np.float32, "at least 4x4 pixels for this net, got 3x4"),
        ((1, 4, 3, 3), np.float32, "at least 4x4 pixels for this net, got 4x3"),
        ((1, 4, 4, 3), np.uint8, "must be floats in [0, 1], got dtype uint8"),
    ],
)
def test_refuses_images(shape, dtype, rule):
    with pytest.raises(ValueError, match=re.escape(rule)):
        NETS[None].init(jax.random.key(0), np.zeros(shape, dtype), train=False)


@pytest.mark.parametrize("min_channels", NETS)
def test_batch_norms_are_the_papers(norms_of, min_channels):
    norms = norms_of(NETS[min_channels]).values()
    assert len(norms) == 48 * 2 + 2 + 1  # of units, transitions and the top
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(1.001e-5, 0.99)}


@pytest.mark.parametrize(
    ("min_channels", "path", "fan_in", "fan_out"),
    [
        (None, "stem", 9 * 3, 9 * 24),
        (12, "block0/conv", 9 * 48, 9 * 12),
        (None, "block0/pointwise/K", 24, 48),
        (12, "block4/pointwise/K", 12, 48),
        (12, "block4/pointwise/L", 8, 48),
        (12, "transition1/pointwise/K", 12, 108),
        (12, "head", 342, 10),
    ],
)
def test_kernels_are_drawn_glorot_uniform(
    kernel_spread, min_channels, path, fan_in, fan_out
):
    limit = math.sqrt(6 / (fan_in + fan_out))
    expected = limit / math.sqrt(3), limit
    assert kernel_spread(NETS[min_channels], path) == pytest.approx(expected, rel=0.05)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(24, 2, 5, 4)).astype(np.float32)


def layers(grouped: bool) -> Layers:
    """Those of a net, whose pointwise layers have one group and no activation."""
    made = DenseNet(10).layers(train=False)
    return dataclasses.replace(made, grouped=grouped)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_unit_appends_its_channels_to_its_input(draw_variables, images, grouped):
    unit = Unit(layers(grouped))
    y = np.asarray(unit.apply(draw_variables(unit, images), images))
    assert y.shape == (36, 2, 5, 4)
    np.testing.assert_array_equal(y[:24], images)
    # Only the grouped net has its ReLU after the convolution.
    assert (y[24:] < 0).any() != grouped


@pytest.mark.parametrize("grouped", [False, True])
def test_a_transition_halves_channels_and_pixels(draw_variables, images, grouped):
    transition = Transition(layers(grouped))
    variables = draw_variables(transition, images)
    y = channels_last(transition.apply(variables, images))
    params, stats = (variables[of]["norm"] for of in ("params", "batch_stats"))
    x = np.asarray(channels_last(images))
    x = np.asarray(interleave(x, 12)) if grouped else x
    x = (x - stats["mean"]) / np.sqrt(stats["var"] + 1.001e-5)
    x = x * params["scale"] + params["bias"]
    x = x if grouped else np.maximum(x, 0)
    x = x @ variables["params"]["pointwise"]["K"]["kernel"][0]
    # Means of 2x2 pixels; the fifth row is left out.
    expected = x[:, :4].reshape(2, 2, 2, 2, 2, 12).mean((2, 4))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
