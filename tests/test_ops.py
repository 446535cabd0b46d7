"""Every form of an operation gives what its plain definition gives, on a CPU."""

from collections.abc import Callable
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from flax import linen as nn

from gpwjax import Pointwise
from gpwjax.ops.activations import add, relu, swish
from gpwjax.ops.batch_norm import BatchNorm
from gpwjax.ops.convolution import Conv
from gpwjax.ops.depthwise import Depthwise
from gpwjax.ops.platforms import form
from gpwjax.ops.pooling import add_images, image_means, times_images

FORMS = ("cpu", "tpu", "cuda")
TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2}
SIZES = {"stride": 2, "padding": ((0, 1), (0, 1))}


class Elementwise(nn.Module):
    """The operations without parameters."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = times_images(swish(x), nn.sigmoid(image_means(x)))
        return add(relu(x), add_images(x, y, jnp.arange(1.0, 4)[None, :, None, None]))


def pointwise(features: int, norm: nn.Module = BatchNorm, **settings) -> Pointwise:
    norm = partial(norm, use_running_average=False, epsilon=1e-3, **settings)
    return Pointwise(features, 4, norm, swish, axis=0)


def scheme(name: str, features: int) -> Pointwise:
    return pointwise(features).clone(scheme=name)


# Layer, and the shape of its input.
LAYERS = {
    "K and L": (pointwise(16), (24, 3, 5, 4)),
    "interleaved K": (pointwise(24), (16, 3, 5, 4)),
    "one group": (pointwise(9), (8, 3, 5, 4)),
    "K and L, Flax's norm": (pointwise(16, nn.BatchNorm, axis=0), (24, 3, 5, 4)),
    "interleaved K, Flax's norm": (pointwise(24, nn.BatchNorm, axis=0), (16, 3, 5, 4)),
    "K and L of vectors": (Pointwise(8, 4, None, swish, True), (3, 16)),
    "interleaved K of vectors": (Pointwise(24, 4, None, swish, True), (3, 16)),
    "of means": (Pointwise(24, 4, None, swish, True, axis=0), (16, 3, 1, 1)),
    "any": (scheme("any", 11), (11, 3, 5, 4)),
    "any, of vectors": (Pointwise(9, 2, None, swish, True, scheme="any"), (3, 13)),
    "parallel": (scheme("parallel", 24), (32, 3, 5, 4)),
    "parallel, few groups": (scheme("parallel", 24), (16, 3, 5, 4)),
    "depthwise": (Depthwise(3, 1, ((1, 1), (1, 1))), (6, 3, 5, 4)),
    "depthwise, wide": (Depthwise(3, **SIZES), (40, 2, 6, 6)),
    "depthwise 5x5": (Depthwise(5, 2, ((1, 2), (2, 2))), (6, 3, 6, 5)),
    "convolution of images": (Conv(5, **SIZES, use_bias=True), (3, 3, 6, 4)),
    "convolution": (Conv(5), (6, 3, 5, 4)),
    "batch norm": (BatchNorm(False), (6, 3, 5, 4)),
    "running statistics": (BatchNorm(True), (6, 3, 5, 4)),
    "elementwise": (Elementwise(), (6, 3, 5, 4)),
}


class TestForms(chex.TestCase):
    @parameterized.product(layer=tuple(LAYERS), dtype=tuple(TOLERANCES))
    def test_value_statistics_and_gradients_are_the_plain_ones(self, layer, dtype):
        assert_forms_agree(*LAYERS[layer], dtype, jax.jit)

    @chex.variants(with_jit=True, without_jit=True)
    def test_so_they_are_of_a_net_with_and_without_jit(self):
        norm = partial(BatchNorm, use_running_average=False)
        net = nn.Sequential(
            [
                Conv(8),
                Depthwise(3, **SIZES),
                norm(),
                swish,
                Pointwise(16, 4, norm, relu, axis=0),
            ]
        )
        assert_forms_agree(net, (3, 2, 6, 4), "float32", self.variant)


def assert_forms_agree(
    module: nn.Module, shape: tuple[int, ...], dtype: str, variant: Callable
) -> None:
    """Compares the forms of all platforms with the plain one."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(1, 1, shape), dtype)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    variables = jax.tree.map(
        lambda v: jnp.asarray(rng.uniform(0.1, 1, v.shape), v.dtype), shapes
    )

    def run(variables: dict, x: jax.Array) -> tuple:
        """The result, the new statistics, and the gradients of a drawn sum."""

        def apply(params: dict, x: jax.Array) -> tuple:
            y, new = module.apply(
                variables | {"params": params}, x, mutable=["batch_stats"]
            )
            return y.astype(dtype), new

        params = variables.get("params", {})
        y, pull_back, new = jax.vjp(apply, params, x, has_aux=True)
        dy = np.random.default_rng(1).normal(size=y.shape)
        return y, new, pull_back(jnp.asarray(dy, dtype))

    with form("default"):
        expected = jax.jit(run)(variables, x)
    for platform in FORMS:
        with form(platform):
            actual = variant(run)(variables, x)
        chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
        near = partial(assert_near, tolerance=TOLERANCES[dtype])
        jax.tree.map(near, actual, expected)


def assert_near(actual: jax.Array, expected: jax.Array, tolerance: float) -> None:
    """Equal up to a tolerance times the largest expected value, or times one."""
    actual, expected = (np.asarray(a, np.float64) for a in (actual, expected))
    largest = max(1, np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * largest)
