"""ConvMixer beside plain convolutions of JAX, and its counts."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpwjax import count, create_model
from gpwjax.convmixer import ConvMixer, Stage

# Without the batch norms, 2 * 17 * 256 parameters, and the head, 2,570, the paper's
# formula: 256 * (3 * 2 * 2 + 1), and 8 * 256 * (5 * 5 + 1 + 256 + 1) in the blocks.
DENSE = 256 * 13 + 8 * 256 * (26 + 257) + 2 * 17 * 256 + 2_570
# K and L with 16 and 32 inputs of a group, and the batch norms of L.
GROUPED = {n: DENSE + 8 * 256 * (2 * (n + 1) - 257 + 2) for n in (16, 32)}


@pytest.mark.parametrize(
    ("min_channels", "params", "millions"),
    [(None, DENSE, 0.59), (16, GROUPED[16], 0.14), (32, GROUPED[32], 0.21)],
)
def test_parameters(min_channels, params, millions):
    counts = count(create_model("convmixer", 10, min_channels), (32, 32, 3))
    assert counts.params == params
    assert round(params / 1e6, 2) == millions


def test_the_dense_net_is_nearly_all_pointwise():
    layers = count(create_model("convmixer", 10), (32, 32, 3)).layers
    kernels = sum(256 * 256 for layer in layers if layer.name.endswith("pointwise/K"))
    assert round(kernels / DENSE, 2) == 0.88


@pytest.mark.parametrize("small_images", [False, True])
def test_a_patch_of_two_pixels_becomes_one(map_shapes, small_images):
    net = create_model("convmixer", 10, 16, small_images)
    shapes = map_shapes(net, 32, 9)
    assert shapes == dict.fromkeys(("stem", "stage1", "top"), (16, 4, 256))


def test_refuses_images_of_one_pixel():
    model = create_model("convmixer", 10)
    with pytest.raises(ValueError, match=re.escape("at least 2x2 pixels")):
        count(model, (1, 2, 3))


def convolved(x, layer, groups=1, **settings):
    """A convolution of (N, H, W, C) with its bias."""
    kernel = layer["kernel"]
    if kernel.ndim == 3:  # (groups, in, out) of a pointwise one
        groups = kernel.shape[0]
        kernel = jnp.moveaxis(kernel, 0, 1).reshape(1, 1, kernel.shape[1], -1)
    settings = {"window_strides": (1, 1), "padding": "SAME"} | settings
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
        **settings,
    )
    return y + layer["bias"]


def activated(x, params, stats):
    """GELU by its definition, then batch normalisation."""
    x = x * jax.scipy.stats.norm.cdf(x)
    y = (x - stats["norm"]["mean"]) / jnp.sqrt(stats["norm"]["var"] + 1e-5)
    return y * params["norm"]["scale"] + params["norm"]["bias"]


def plain(variables, images, blocks, groups):
    """The net as the paper's Section 2 says it, its pointwise layers as K and L."""
    params, stats = variables["params"], variables["batch_stats"]
    patches = {"window_strides": (2, 2), "padding": "VALID"}
    x = convolved(images, params["stem"], **patches)
    x = activated(x, params["stem_norm"], stats["stem_norm"])
    for number in range(blocks):
        of, means = params[f"block{number}"], stats[f"block{number}"]
        y = convolved(x, of["depthwise"], groups=x.shape[-1])
        x = x + activated(y, of["depthwise_norm"], means["depthwise_norm"])
        of, means, parts = of["pointwise"], means["pointwise"], []
        for name, norm in (("K", "ActivatedNorm_0"), ("L", "ActivatedNorm_1")):
            if name in of:
                x = activated(convolved(x, of[name]), of[norm], means[norm])
                parts.append(x)
            shape = x.shape
            x = x.reshape(*shape[:-1], groups, -1).swapaxes(-2, -1).reshape(shape)
        x = sum(parts)
    return x.mean((1, 2)) @ params["head"]["kernel"] + params["head"]["bias"]


@pytest.mark.parametrize(("min_channels", "groups"), [(None, 1), (8, 4)])
def test_logits_are_those_of_plain_convolutions(draw_variables, min_channels, groups):
    model = ConvMixer(10, min_channels, stages=(Stage(2, 32, 5),))
    images = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype(np.float32)
    variables = draw_variables(model, images, train=False)
    found = jax.jit(lambda: model.apply(variables, images, train=False))()
    expected = jax.jit(lambda: plain(variables, images, 2, groups))()
    largest = abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [("stem", 12), ("block0/depthwise", 25), ("block0/pointwise/K", 16)],
)
def test_kernels_are_drawn_by_their_fan_in(kernel_spread, layer, fan_in):
    model = ConvMixer(10, 16, stages=(Stage(1, 256, 5),))
    deviation, largest = kernel_spread(model, layer)
    limit = fan_in**-0.5
    assert 0.98 * limit < largest <= limit
    assert deviation == pytest.approx(limit / 3**0.5, rel=0.05)
