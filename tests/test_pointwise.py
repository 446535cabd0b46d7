import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from gpwjax import GroupedPointwise, Pointwise, interleave, num_groups

SIZES = st.integers(1, 5)


def shapes_of(module: nn.Module, in_features: int) -> dict:
    """Shapes of the parameters of a pointwise layer, without computing them."""
    x = jax.ShapeDtypeStruct((1, in_features), jnp.float32)
    params = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    return jax.tree.map(lambda leaf: leaf.shape, params)


def grouped_by_loop(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A grouped pointwise convolution, group by group, in float64."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    parts = np.split(x, len(kernel), axis=-1)
    return np.concatenate([part @ k for part, k in zip(parts, kernel, strict=True)], -1)


def grouped_by_lax(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same by XLA's grouped convolution; x is (N, H, W, C)."""
    groups, inputs, _ = kernel.shape
    return jax.lax.conv_general_dilated(
        x,
        kernel.transpose(1, 0, 2).reshape(1, 1, inputs, -1),
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def assert_close(actual: jax.Array, expected: np.ndarray, tolerance: float) -> None:
    """Equal up to `tolerance` times the largest expected value."""
    expected = np.asarray(expected, np.float64)
    error = np.abs(np.asarray(actual, np.float64) - expected).max()
    assert actual.shape == expected.shape
    assert error <= tolerance * np.abs(expected).max()


class TestNumGroups:
    @pytest.mark.parametrize(
        ("in_features", "features", "min_channels", "groups"),
        [
            (1024, 512, 16, 64),  # the paper's example: 1024 // 16 divides both
            (672, 28, 16, 28),  # at most 42, but only 28 divides 28
            (32, 64, 16, 2),
            (16, 96, 16, 1),  # 16 // 16
            (8, 32, 16, 1),  # fewer inputs than one group must have
            (96, 24, 16, 6),  # 6 = 96 // 16 divides 24
            (40, 240, 16, 2),
            (7, 13, 1, 1),  # no common divisor but 1
        ],
    )
    def test_worked_examples(self, in_features, features, min_channels, groups):
        assert num_groups(in_features, features, min_channels) == groups

    @given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 700))
    def test_is_the_largest_common_divisor_that_leaves_enough_channels(
        self, in_features, features, min_channels
    ):
        assert num_groups(in_features, features, min_channels) == max(
            n
            for n in range(1, in_features + 1)
            if in_features % n == 0 and features % n == 0
            if n <= in_features // min_channels or n == 1
        )

    def test_takes_numpy_integers(self):
        assert num_groups(np.int64(64), np.int32(32), np.uint8(16)) == 4

    @pytest.mark.parametrize("position", range(3))
    @pytest.mark.parametrize("value", [0, -16, 16.0, "16", None])
    def test_refuses_what_is_not_an_integer_of_at_least_1(self, position, value):
        name = ("in_features", "features", "min_channels")[position]
        arguments = [32, 32, 16]
        arguments[position] = value
        rule = f"{name} must be an integer of at least 1, got {value!r}"
        with pytest.raises(ValueError, match=rule):
            num_groups(*arguments)


class TestInterleave(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_order_is_0_s_2s_then_1_and_so_on(self):
        run = self.variant(partial(interleave, step=4))
        order = run(jnp.arange(12))
        assert order.tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]

    @chex.variants(with_jit=True, without_jit=True)
    def test_moves_the_last_axis_alone(self):
        x = np.arange(2 * 3 * 6).reshape(2, 3, 6)
        run = self.variant(partial(interleave, step=2))
        np.testing.assert_array_equal(run(x), x[..., [0, 2, 4, 1, 3, 5]])

    @chex.variants(with_jit=True, without_jit=True)
    @settings(max_examples=10)
    @given(step=SIZES, groups=SIZES)
    def test_is_undone_by_the_step_channels_over_step(self, step, groups):
        x = np.arange(2 * step * groups).reshape(2, -1)
        run = self.variant(lambda x: interleave(interleave(x, step), groups))
        np.testing.assert_array_equal(run(x), x)

    def test_refuses_a_step_that_does_not_divide(self):
        with pytest.raises(ValueError, match="step must divide the 12 channels, got 5"):
            interleave(jnp.arange(12), 5)

    def test_refuses_a_step_below_1(self):
        with pytest.raises(ValueError, match="step must be an integer .* got 0"):
            interleave(jnp.arange(12), 0)


SHAPES = st.tuples(SIZES, SIZES, SIZES, SIZES, SIZES)


class TestGroupedPointwise(chex.TestCase):
    def draw(self, batch, height, groups, inputs, outputs, **settings):
        """A layer as a function of drawn parameters and of drawn images."""
        rng = np.random.default_rng(0)
        images = rng.normal(size=(batch, height, 2, groups * inputs))
        params = {"kernel": rng.normal(size=(groups, inputs, outputs))}
        if settings.get("use_bias"):
            params["bias"] = rng.normal(size=groups * outputs)
        layer = GroupedPointwise(groups * outputs, groups, **settings)
        return (
            lambda params, x: layer.apply({"params": params}, x),
            jax.tree.map(jnp.float32, params),
            jnp.float32(images),
        )

    @chex.variants(with_jit=True, without_jit=True)
    @settings(max_examples=10)
    @given(shape=SHAPES)
    def test_equals_a_loop_over_the_groups_and_the_convolution_of_xla(self, shape):
        layer, params, x = self.draw(*shape)
        y = self.variant(layer)(params, x)
        assert_close(y, grouped_by_loop(x, params["kernel"]), 1e-5)
        assert_close(y, jax.jit(grouped_by_lax)(x, params["kernel"]), 1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    @settings(max_examples=3)
    @given(shape=SHAPES)
    def test_bfloat16_is_near_the_loop(self, shape):
        layer, params, x = self.draw(*shape, dtype=jnp.bfloat16)
        y = self.variant(layer)(params, x)
        assert y.dtype == jnp.bfloat16
        assert_close(y, grouped_by_loop(x, params["kernel"]), 2e-2)

    @chex.variants(with_jit=True, without_jit=True)
    def test_gradients_equal_numeric_ones(self):
        layer, *point = self.draw(2, 1, 3, 2, 4, use_bias=True)
        # Bilinear: a central difference is exact however large its step.
        check_grads(self.variant(layer), point, 1, atol=1e-3, rtol=1e-3, eps=0.1)

    @chex.variants(with_jit=True, without_jit=True)
    def test_gradients_equal_those_of_xlas_grouped_convolution(self):
        layer, params, x = self.draw(2, 3, 4, 2, 3)

        def gradients(layer):
            return jax.grad(lambda *point: (layer(*point) ** 3).sum(), argnums=(0, 1))

        ours = self.variant(gradients(layer))(params, x)
        theirs = jax.jit(
            gradients(lambda params, x: grouped_by_lax(x, params["kernel"]))
        )
        jax.tree.map(partial(assert_close, tolerance=1e-5), ours, theirs(params, x))

    @chex.variants(with_jit=True, without_jit=True)
    def test_adds_the_bias_of_each_feature(self):
        layer, params, x = self.draw(2, 3, 2, 3, 2, use_bias=True)
        expected = grouped_by_loop(x, params["kernel"]) + params["bias"]
        assert_close(self.variant(layer)(params, x), expected, 1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_takes_any_number_of_leading_axes(self):
        layer, params, x = self.draw(2, 3, 2, 3, 2)
        expected = grouped_by_loop(x, params["kernel"])
        run = self.variant(layer)
        assert_close(run(params, x.reshape(-1, 6)), expected.reshape(-1, 4), 1e-5)
        assert_close(run(params, x[1, 2, 1]), expected[1, 2, 1], 1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_dtype_is_that_of_input_and_parameters_if_not_given(self):
        layer, params, x = self.draw(1, 1, 2, 3, 2)
        run = self.variant(layer)
        half = jax.tree.map(jnp.bfloat16, params)
        assert run(params, jnp.bfloat16(x)).dtype == jnp.float32
        assert run(half, jnp.bfloat16(x)).dtype == jnp.bfloat16


def test_grouped_pointwise_makes_parameters_of_param_dtype():
    layer = GroupedPointwise(
        4, 2, use_bias=True, dtype=jnp.float32, param_dtype=jnp.bfloat16
    )
    y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 6)))
    chex.assert_trees_all_equal_shapes_and_dtypes(
        variables["params"],
        {
            "kernel": jnp.zeros((2, 3, 2), jnp.bfloat16),
            "bias": jnp.zeros(4, jnp.bfloat16),
        },
    )
    assert y.dtype == jnp.float32


@pytest.mark.parametrize(("in_features", "features"), [(10, 8), (8, 10)])
def test_grouped_pointwise_refuses_groups_that_do_not_divide(in_features, features):
    rule = (
        f"groups must divide the {in_features} input channels and the {features} "
        "features, got 4"
    )
    with pytest.raises(ValueError, match=rule):
        shapes_of(GroupedPointwise(features, groups=4), in_features)


@pytest.mark.parametrize("value", [0, -1, 2.0])
@pytest.mark.parametrize("name", ["groups", "features"])
def test_grouped_pointwise_refuses_what_is_not_an_integer_of_at_least_1(name, value):
    settings = {"features": 4, "groups": 2, name: value}
    rule = f"{name} must be an integer of at least 1, got {value!r}"
    with pytest.raises(ValueError, match=rule):
        shapes_of(GroupedPointwise(**settings), 4)


def by_hand(variables: dict, x: np.ndarray, features: int, groups: int) -> np.ndarray:
    """PAPER: K, interleave, L and sum, with batch norm and swish inside K and L."""

    def part(x: np.ndarray, name: str, norm: str) -> np.ndarray:
        convolution = variables["params"][name]
        norm = variables["params"][norm] | variables["batch_stats"][norm]
        y = grouped_by_loop(x, convolution["kernel"]) + convolution.get("bias", 0)
        y = (y - norm["mean"]) / np.sqrt(norm["var"] + 1e-3)
        y = y * norm["scale"] + norm["bias"]
        return y / (1 + np.exp(-y))

    k = part(x, "K", "BatchNorm_0")
    if groups == 1:
        return k
    step = features // groups
    mixed = k[..., [i for first in range(step) for i in range(first, features, step)]]
    if x.shape[-1] < features:
        return mixed
    return part(mixed, "L", "BatchNorm_1") + k


NORM = partial(nn.BatchNorm, use_running_average=True, epsilon=1e-3)
CASES = {  # in_features, features, min_channels, groups
    "with L": (24, 12, 4, 6),
    "with L, as many features as inputs": (16, 16, 4, 4),
    "with L, one feature a group": (24, 3, 8, 3),
    "without L": (12, 18, 4, 3),
    "one group": (12, 7, 4, 1),
    "dense": (12, 8, None, 1),
}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("use_bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize(
    ("in_features", "features", "min_channels", "groups"), CASES.values(), ids=CASES
)
def test_pointwise_equals_the_papers_steps_by_hand(
    draw_variables, in_features, features, min_channels, groups, use_bias
):
    layer = Pointwise(features, min_channels, NORM, nn.swish, use_bias)
    x = normal(2, 3, in_features)
    variables = draw_variables(layer, x)
    expected = by_hand(variables, x, features, groups)
    assert_close(jax.jit(layer.apply)(variables, x), expected, 1e-5)


def test_pointwise_without_norm_and_activation_has_none(draw_variables):
    layer, x = Pointwise(8, 4), normal(2, 16)
    variables = draw_variables(layer, x)
    k = grouped_by_loop(x, variables["params"]["K"]["kernel"])
    mixed = k[:, [0, 2, 4, 6, 1, 3, 5, 7]]
    expected = k + grouped_by_loop(mixed, variables["params"]["L"]["kernel"])
    assert_close(layer.apply(variables, x), expected, 1e-5)


@pytest.mark.parametrize("min_channels", [None, 16])
def test_pointwise_of_one_group_equals_a_1x1_convolution_of_flax(
    draw_variables, min_channels
):
    layer, x = Pointwise(6, min_channels, use_bias=True), normal(2, 3, 4, 8)
    variables = draw_variables(layer, x)
    ours = variables["params"]["K"]
    # Ours is (1 group, 8, 6), Flax's (1, 1, 8, 6).
    theirs = {"kernel": ours["kernel"][None], "bias": ours["bias"]}
    expected = nn.Conv(6, (1, 1)).apply({"params": theirs}, x)
    assert_close(layer.apply(variables, x), expected, 1e-5)


@pytest.mark.parametrize(
    ("in_features", "features", "shapes"),
    [
        # The paper's examples: 8,192 + 4,096 weights, and 28 groups of one channel.
        (1024, 512, {"K": (64, 16, 8), "L": (64, 8, 8)}),
        (672, 28, {"K": (28, 24, 1), "L": (28, 1, 1)}),
        (128, 128, {"K": (8, 16, 16), "L": (8, 16, 16)}),
        (32, 64, {"K": (2, 16, 32)}),
        (16, 96, {"K": (1, 16, 96)}),
    ],
)
def test_pointwise_has_the_kernels_of_the_paper(in_features, features, shapes):
    expected = {part: {"kernel": shape} for part, shape in shapes.items()}
    assert shapes_of(Pointwise(features, min_channels=16), in_features) == expected


@pytest.mark.parametrize(
    ("in_features", "times"),
    [(32, 2), (8, 1), (15, 1)],
    ids=["K and L", "K alone", "one group"],
)
def test_norm_is_made_without_arguments_once_for_each_convolution(in_features, times):
    made = []

    def norm() -> nn.Module:
        made.append(NORM())
        return made[-1]

    shapes_of(Pointwise(16, 4, norm), in_features)
    assert len(made) == times


def test_pointwise_passes_dtypes_and_initialisers_to_both_convolutions():
    layer = Pointwise(
        8,
        4,
        use_bias=True,
        dtype=jnp.float16,
        param_dtype=jnp.bfloat16,
        kernel_init=nn.initializers.constant(2),
        bias_init=nn.initializers.constant(3),
    )
    y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 16)))
    bias = jnp.full(8, 3, jnp.bfloat16)
    expected = {
        "K": {"kernel": jnp.full((4, 4, 2), 2, jnp.bfloat16), "bias": bias},
        "L": {"kernel": jnp.full((4, 2, 2), 2, jnp.bfloat16), "bias": bias},
    }
    chex.assert_trees_all_equal(variables["params"], expected, strict=True)
    assert y.dtype == jnp.float16


@pytest.mark.parametrize("value", [0, -4, 16.0])
@pytest.mark.parametrize("name", ["min_channels", "features"])
def test_pointwise_refuses_what_is_not_an_integer_of_at_least_1(name, value):
    settings = {"features": 8, "min_channels": 4, name: value}
    rule = f"{name} must be an integer of at least 1, got {value!r}"
    with pytest.raises(ValueError, match=rule):
        shapes_of(Pointwise(**settings), 16)


@pytest.mark.parametrize(
    ("part", "fan_in", "fan_out"), [("K", 512 / 4, 256), ("L", 256 / 4, 256)]
)
def test_kernels_are_drawn_uniformly_with_the_papers_fans(part, fan_in, fan_out):
    variables = Pointwise(256, 128).init(jax.random.key(0), jnp.zeros((1, 512)))
    kernel = np.asarray(variables["params"][part]["kernel"])
    limit = math.sqrt(6 / (fan_in + fan_out))
    assert kernel.shape[0] == 4
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    # A uniform distribution from -limit to limit.
    np.testing.assert_allclose(
        np.quantile(kernel, [0.25, 0.5, 0.75]) / limit, [-0.5, 0, 0.5], atol=0.03
    )


def test_a_seed_draws_what_it_drew_before_there_were_schemes():
    """So that the runs of old commits can be repeated."""
    params = Pointwise(8, 4).init(jax.random.key(0), jnp.zeros((1, 16)))["params"]
    drawn = params["K"]["kernel"][0, 0], params["L"]["kernel"][3, 1]
    expected = [-0.5945231, -0.39186773, 0.7495964, 0.38156426]
    np.testing.assert_array_equal(np.concatenate(drawn), np.float32(expected))


class TestAxis(chex.TestCase):
    """The channels on another axis than the last."""

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(-1, 0, 1, -2)
    def test_interleave_reorders_that_axis(self, axis):
        x = np.random.default_rng(0).normal(size=(2, 3, 12)).astype(np.float32)
        moved = np.moveaxis(x, -1, axis)
        y = self.variant(partial(interleave, step=4, axis=axis))(moved)
        expected = interleave(x, 4)
        np.testing.assert_array_equal(np.moveaxis(y, axis, -1), expected)

    @parameterized.product(axis=(0, 1), features=(12, 24))
    def test_pointwise_gives_the_same_on_each_axis(self, axis, features):
        x = np.random.default_rng(0).normal(size=(2, 3, 5, 12)).astype(np.float32)

        def layer(axis):
            norm = partial(nn.BatchNorm, use_running_average=False, axis=axis)
            settings = {"activation": nn.swish, "use_bias": True, "axis": axis}
            return Pointwise(features, 3, norm=norm, **settings)

        variables = jax.jit(layer(-1).init)(jax.random.key(0), x)
        last, there = (
            jax.jit(partial(layer(a).apply, mutable=["batch_stats"]))
            for a in (-1, axis)
        )
        expected, stats = last(variables, x)
        y, stats_there = there(variables, np.moveaxis(x, -1, axis))
        np.testing.assert_allclose(np.moveaxis(y, axis, -1), expected, atol=1e-5)
        chex.assert_trees_all_close(stats_there, stats, atol=1e-6)
