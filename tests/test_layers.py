import math
import re
from collections.abc import Callable
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from gpwjax.checks import check_images
from gpwjax.net import channels_first, channels_last
from gpwjax.ops.activations import swish
from gpwjax.ops.batch_norm import BatchNorm
from gpwjax.ops.convolution import Conv
from gpwjax.ops.depthwise import Depthwise, depthwise

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.float32(np.random.default_rng(seed).normal(size=shape))


def depthwise_by_xla(x, kernel, stride, padding):
    """XLA's grouped convolution, with one channel a group."""
    return jax.lax.conv_general_dilated(
        # Not by its own padding: with more zeros than k - 1 on one side, the gradient
        # that jaxlib 0.10.2 computes on a CPU is wrong.
        jnp.pad(x, ((0, 0), (0, 0), *padding)),
        kernel,
        window_strides=(stride, stride),
        padding="VALID",
        dimension_numbers=("CNHW", "HWIO", "CNHW"),
        feature_group_count=len(x),
    )


def depthwise_by_layer(x, kernel, stride, padding):
    layer = Depthwise(len(kernel), stride, padding)
    return layer.apply({"params": {"kernel": kernel}}, x)


def value_and_gradients(convolution, x, kernel, stride, padding):
    """Of a drawn combination of all results, with respect to x and kernel."""

    def run(x, kernel):
        return convolution(x, kernel, stride=stride, padding=padding)

    y, pull_back = jax.vjp(run, x, kernel)
    return y, *pull_back(normal(2, *y.shape))


@st.composite
def inputs(draw, k):
    """An image, a k x k kernel and a padding: any that leave at least one result."""
    zeros = st.integers(0, k)
    padding = tuple((draw(zeros), draw(zeros)) for _ in range(2))
    height, width = (draw(st.integers(max(1, k - sum(p)), 9)) for p in padding)
    x = normal(0, draw(st.integers(1, 4)), draw(st.integers(1, 2)), height, width)
    return x, normal(1, k, k, 1, len(x)), padding


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [3, 5])
@settings(max_examples=6)
@given(data=st.data())
def test_depthwise_and_its_gradients_equal_the_convolution_of_xla(k, stride, data):
    x, kernel, padding = data.draw(inputs(k))
    how = {"stride": stride, "padding": padding}
    ours, theirs = (
        jax.jit(partial(value_and_gradients, convolution, **how))(x, kernel)
        for convolution in (depthwise_by_layer, depthwise_by_xla)
    )
    chex.assert_trees_all_close(ours, theirs, **CLOSE)


class TestDepthwise(chex.TestCase):
    def setUp(self):
        super().setUp()
        # As the stride-2 layers of MobileNet.
        self.how = {"stride": 2, "padding": ((0, 1), (0, 1))}
        self.x, self.kernel = normal(0, 4, 2, 7, 6), normal(1, 3, 3, 1, 4)

    @chex.variants(with_jit=True, without_jit=True)
    def test_value_and_gradients_equal_xlas(self):
        ours, theirs = (
            transform(partial(value_and_gradients, convolution, **self.how))
            for transform, convolution in (
                (self.variant, depthwise),
                (jax.jit, depthwise_by_xla),
            )
        )
        point = self.x, self.kernel
        chex.assert_trees_all_close(ours(*point), theirs(*point), **CLOSE)

    def test_values_and_gradients_of_several_nets_at_once_by_vmap(self):
        layer, nets = Depthwise(3, **self.how), normal(1, 3, 3, 3, 1, 4)

        @jax.jit
        @jax.value_and_grad
        def loss(kernel):
            return (layer.apply({"params": {"kernel": kernel}}, self.x) ** 2).sum()

        one_by_one = [loss(kernel) for kernel in nets]
        expected = jax.tree.map(lambda *results: jnp.stack(results), *one_by_one)
        at_once = jax.jit(jax.vmap(loss))(nets)
        chex.assert_trees_all_close(at_once, expected, **CLOSE)

    @chex.variants(with_jit=True, without_jit=True)
    def test_bfloat16_is_near_float32_and_its_gradient_float32(self):
        def value_and_gradient(dtype, kernel):
            layer = Depthwise(3, **self.how, dtype=dtype)
            run = partial(layer.apply, x=self.x)
            y, pull_back = jax.vjp(run, {"params": {"kernel": kernel}})
            return y, pull_back(jnp.ones_like(y))

        half = self.variant(partial(value_and_gradient, jnp.bfloat16))(self.kernel)
        assert [a.dtype for a in jax.tree.leaves(half)] == [jnp.bfloat16, jnp.float32]
        full = jax.jit(partial(value_and_gradient, None))(self.kernel)
        for near, value in zip(*map(jax.tree.leaves, (half, full)), strict=True):
            largest = float(jnp.abs(value).max())
            np.testing.assert_allclose(jnp.float32(near), value, atol=2e-2 * largest)


def test_kernels_are_drawn_uniformly_with_the_fans_of_keras():
    layer, channels = Depthwise(3, 1, ((1, 1), (1, 1))), 2048
    variables = layer.init(jax.random.key(0), jnp.zeros((channels, 1, 1, 1)))
    kernel = np.asarray(variables["params"]["kernel"])
    # Keras' kernel is (3, 3, channels, 1): 9 * channels come in, 9 go out.
    limit = math.sqrt(6 / (9 * channels + 9))
    assert kernel.shape == (3, 3, 1, channels)
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    quartiles = np.quantile(kernel, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles / limit, [-0.5, 0, 0.5], atol=0.03)


def batch_norm_of_flax(**settings) -> nn.BatchNorm:
    return nn.BatchNorm(momentum=0.9, epsilon=1e-3, axis=0, **settings)


def trained(norm: nn.Module, variables: dict, x: jax.Array) -> tuple:
    """What a norm makes of a batch, the new statistics, and the gradients of a drawn
    combination of its results."""

    def run(params, x):
        y, new = norm.apply(variables | {"params": params}, x, mutable=["batch_stats"])
        return y, new["batch_stats"]

    y, pull_back, stats = jax.vjp(run, variables["params"], x, has_aux=True)
    return y, stats, *pull_back(normal(2, *y.shape).astype(y.dtype))


class TestBatchNorm(chex.TestCase):
    def setUp(self):
        super().setUp()
        # Means as large as the deviations; a channel that is the same everywhere.
        x = normal(0, 5, 3, 4, 2) + jnp.arange(5.0)[:, None, None, None]
        self.x = x.at[4].set(1.5)
        draws = 0.5 + abs(normal(1, 4, 5))
        self.variables = {
            "params": dict(zip(("scale", "bias"), draws[:2], strict=True)),
            "batch_stats": dict(zip(("mean", "var"), draws[2:], strict=True)),
        }

    @chex.variants(with_jit=True, without_jit=True)
    def test_training_equals_flaxs(self):
        ours, theirs = (
            transform(partial(trained, norm))(self.variables, self.x)
            for transform, norm in (
                (self.variant, BatchNorm(False, momentum=0.9)),
                (jax.jit, batch_norm_of_flax(use_running_average=False)),
            )
        )
        chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-4)

    @chex.variants(with_jit=True, without_jit=True)
    def test_inference_equals_flaxs(self):
        ours, theirs = (
            self.variant(norm.apply)(self.variables, self.x)
            for norm in (BatchNorm(True), batch_norm_of_flax(use_running_average=True))
        )
        chex.assert_trees_all_close(ours, theirs, **CLOSE)

    def test_variables_begin_as_flaxs(self):
        ours, theirs = (
            norm.init(jax.random.key(0), self.x)
            for norm in (
                BatchNorm(False),
                batch_norm_of_flax(use_running_average=False),
            )
        )
        chex.assert_trees_all_equal(ours, theirs)

    @chex.variants(with_jit=True, without_jit=True)
    def test_bfloat16_has_the_statistics_and_gradients_of_float32(self):
        rounded = self.x.astype(jnp.bfloat16)
        half = self.variant(partial(trained, BatchNorm(False, dtype=jnp.bfloat16)))(
            self.variables, rounded
        )
        full = jax.jit(partial(trained, BatchNorm(False)))(
            self.variables, jnp.float32(rounded)
        )
        assert half[0].dtype == half[3].dtype == jnp.bfloat16
        chex.assert_trees_all_close(half[1], full[1], **CLOSE)
        assert {a.dtype for a in jax.tree.leaves(half[2])} == {jnp.dtype("float32")}
        for near, value in zip(half, full, strict=True):
            chex.assert_trees_all_close(
                jax.tree.map(jnp.float32, near), value, rtol=2e-2, atol=5e-2
            )


class TestSwish(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_value_and_gradients_equal_flaxs(self):
        x = jnp.concatenate([10 * normal(0, 3, 2, 5, 7), jnp.full((1, 2, 5, 7), -90.0)])

        def run(activation, x):
            y, pull_back = jax.vjp(activation, x)
            return y, *pull_back(normal(2, *x.shape))

        ours = self.variant(partial(run, swish))(x)
        theirs = jax.jit(partial(run, nn.swish))(x)
        chex.assert_trees_all_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("channels", [3, 4])  # of images, and others
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize(
    ("stride", "padding"), [(1, ((0, 1), (2, 1))), (2, ((0, 1),) * 2)]
)
def test_conv_and_its_gradients_equal_flaxs(
    draw_variables, stride, padding, use_bias, channels
):
    images = normal(0, 2, 7, 6, channels)
    ours = Conv(5, stride, padding, use_bias=use_bias)
    theirs = nn.Conv(5, (3, 3), strides=stride, padding=padding, use_bias=use_bias)
    variables = draw_variables(theirs, images)

    def apply_ours(variables: dict, images: jax.Array) -> jax.Array:
        return channels_last(ours.apply(variables, channels_first(images)))

    def run(apply: Callable, variables: dict, images: jax.Array) -> tuple:
        y, pull_back = jax.vjp(apply, variables, images)
        return y, pull_back(normal(1, *y.shape))

    actual, expected = (
        jax.jit(partial(run, apply))(variables, images)
        for apply in (apply_ours, theirs.apply)
    )
    chex.assert_trees_all_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("images", "rule"),
    [
        (np.zeros((4, 4, 3), np.float32), "(N, H, W, C), got shape (4, 4, 3)"),
        (np.zeros((1, 4, 4, 3), np.uint8), "floats in [0, 1], got dtype uint8"),
        (np.zeros((1, 4, 4, 3), bool), "floats in [0, 1], got dtype bool"),
        (
            np.zeros((1, 3, 4, 3), np.float32),
            "at least 4x4 pixels for this net, got 3x4",
        ),
        (
            np.zeros((1, 4, 3, 3), np.float32),
            "at least 4x4 pixels for this net, got 4x3",
        ),
    ],
)
def test_check_images_refuses(images, rule):
    with pytest.raises(ValueError, match=re.escape(rule)):
        check_images(images, min_size=4)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_check_images_takes_floats_of_the_least_size(dtype):
    check_images(jnp.zeros((1, 4, 5, 3), dtype), min_size=4)
