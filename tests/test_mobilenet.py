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
    ("small_images", "height", "width", "rows", "columns"),
    [
        # Of the stem and of the five stages: half, rounded down, for each stride of 2.
        (False, 224, 33, [112, 112, 56, 28, 14, 7], [16, 16, 8, 4, 2, 1]),
        (False, 32, 96, [16, 16, 8, 4, 2, 1], [48, 48, 24, 12, 6, 3]),
        (True, 32, 9, [32, 32, 32, 32, 16, 8], [9, 9, 9, 9, 4, 2]),
        (True, 8, 4, [8, 8, 8, 8, 4, 2], [4, 4, 4, 4, 2, 1]),
    ],
)
def test_sizes_of_the_maps(map_shapes, small_images, height, width, rows, columns):
    net = create_model("mobilenet", 10, 16, small_images)
    features = (32, 64, 128, 256, 512, 1024)
    names = ("stem", *(f"stage{i}" for i in range(1, 6)))
    expected = dict(zip(names, zip(rows, columns, features, strict=True), strict=True))
    assert map_shapes(net, height, width) == expected | {"top": expected["stage5"]}


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


def train(model, variables, images):
    return model.apply(
        variables,
        images,
        train=True,
        rngs={"dropout": jax.random.key(0)},
        mutable=["batch_stats"],
    )


@pytest.mark.parametrize("shallow", ["mobilenet"], indirect=True)
@pytest.mark.parametrize(("setting", "momentum"), [(None, 0.99), (0.9, 0.9)])
def test_running_statistics_decay_by_the_momentum(shallow, setting, momentum):
    model, variables, images = shallow
    model = model.clone(batch_norm_momentum=setting)
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


@pytest.mark.parametrize("shallow", ["mobilenet"], indirect=True)
def test_bfloat16_gives_logits_near_those_of_float32(shallow):
    model, variables, images = shallow
    half, full = (
        jax.jit(partial(model.clone(dtype=dtype).apply, train=False))(variables, images)
        for dtype in (jnp.bfloat16, None)
    )
    np.testing.assert_allclose(half, full, rtol=0, atol=0.01 * np.abs(full).max())
