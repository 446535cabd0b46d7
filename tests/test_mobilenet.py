import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpwjax import count, create_model
from gpwjax.mobilenet import MobileNet


@pytest.mark.parametrize(
    ("small_images", "sizes"),
    [
        # Image, stem, the depthwise layers of stride 2, last map.
        (False, (224, 112, 56, 28, 14, 7, 7)),
        (False, (33, 16, 8, 4, 2, 1, 1)),
        (False, (32, 16, 8, 4, 2, 1, 1)),
        (True, (32, 32, 32, 32, 16, 8, 8)),
        (True, (9, 9, 9, 9, 4, 2, 2)),
        (True, (8, 8, 8, 8, 4, 2, 2)),
        (True, (4, 4, 4, 4, 2, 1, 1)),
    ],
)
def test_sizes_of_the_maps(small_images, sizes):
    image, stem, *strided, last = sizes
    layers = count(
        create_model("mobilenet", 10, 16, small_images), (image, image, 3)
    ).layers
    shapes = {layer.name: layer.output_shape for layer in layers}
    assert shapes["stem"] == (stem, stem, 32)
    for size, block in zip(strided, (1, 3, 5, 11), strict=True):
        assert shapes[f"block{block}/depthwise"][:2] == (size, size)
    assert shapes["block12/pointwise/K"] == (last, last, 1024)


def test_maps_may_be_oblong():
    layers = count(create_model("mobilenet", 10), (64, 96, 3)).layers
    assert layers[-2].output_shape == (2, 3, 1024)


@pytest.mark.parametrize(
    ("small_images", "shape", "dtype", "rule"),
    [
        (False, (1, 31, 32, 3), np.float32, "at least 32x32 pixels for this net"),
        (False, (1, 32, 31, 3), np.float32, "at least 32x32 pixels for this net"),
        (True, (1, 3, 4, 3), np.float32, "at least 4x4 pixels for this net, got 3x4"),
        (True, (1, 8, 8, 3), np.uint8, "must be floats in [0, 1], got dtype uint8"),
        (True, (8, 8, 3), np.float32, "must be (N, H, W, C), got shape (8, 8, 3)"),
    ],
)
def test_refuses_images(small_images, shape, dtype, rule):
    model = create_model("mobilenet", 10, small_images=small_images)
    with pytest.raises(ValueError, match=re.escape(rule)):
        model.init(jax.random.key(0), np.zeros(shape, dtype), train=False)


def test_refuses_min_channels_below_1():
    with pytest.raises(ValueError, match="min_channels must be .* at least 1, got 0"):
        count(MobileNet(10, min_channels=0))


@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"), [("stem", 9 * 3, 9 * 32), ("head", 1024, 10)]
)
def test_stem_and_head_are_drawn_glorot_uniform(layer, fan_in, fan_out):
    init = partial(create_model("mobilenet", 10).init, train=False)
    images = jnp.zeros((1, 32, 32, 3))
    # jit leaves out the other layers, which are not asked for.
    params = jax.jit(lambda key: init(key, images)["params"][layer])(jax.random.key(0))
    limit = (6 / (fan_in + fan_out)) ** 0.5
    assert 0.98 * limit < np.abs(params["kernel"]).max() <= limit
    assert not np.any(params.get("bias", 0))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).uniform(0, 1, (4, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def variables(draw_variables, images):
    return draw_variables(small_net(), images, train=False)


def small_net(**settings):
    return create_model("mobilenet", 10, 16, small_images=True, **settings)


def train(model, variables, images):
    return model.apply(
        variables,
        images,
        train=True,
        rngs={"dropout": jax.random.key(0)},
        mutable=["batch_stats"],
    )


@pytest.mark.parametrize(("setting", "momentum"), [(None, 0.99), (0.9, 0.9)])
def test_running_statistics_decay_by_the_momentum(variables, images, setting, momentum):
    model = small_net(batch_norm_momentum=setting)
    stem = jax.jit(
        lambda: train(model, variables, images)[1]["batch_stats"]["stem_norm"]
    )()
    maps = jax.lax.conv_general_dilated(
        images,
        variables["params"]["stem"]["kernel"],
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    # Flax's variance is the biased one (Keras' is not).
    batch = {"mean": maps.mean((0, 1, 2)), "var": maps.var((0, 1, 2))}
    expected = jax.tree.map(
        lambda old, new: momentum * old + (1 - momentum) * new,
        variables["batch_stats"]["stem_norm"],
        batch,
    )
    chex.assert_trees_all_close(stem, expected, rtol=1e-5, atol=1e-6)


def test_bfloat16_gives_logits_near_those_of_float32(draw_variables, images):
    def net(dtype):
        return create_model("mobilenet", 10, small_images=True, dtype=dtype)

    variables = draw_variables(net(None), images, train=False)
    half, full = (
        jax.jit(partial(net(dtype).apply, train=False))(variables, images)
        for dtype in (jnp.bfloat16, None)
    )
    np.testing.assert_allclose(half, full, rtol=0, atol=0.15 * np.abs(full).max())
