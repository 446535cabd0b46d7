"""What only some platforms' forms of the operations have; that all forms are equal is
tested in test_ops.py."""

import re
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpwjax.compilation import QUICK_SUMS
from gpwjax.ops.activations import relu6
from gpwjax.ops.convolution import convolution
from gpwjax.ops.depthwise import depthwise
from gpwjax.ops.parallel import parallel_product
from gpwjax.ops.platforms import form
from gpwjax.ops.product import product
from gpwjax.ops.uneven import uneven_product

AROUND = {"stride": 2, "padding": ((0, 1), (1, 1))}


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.float32(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize(("platform", "moved"), [("cuda", True), ("tpu", False)])
def test_a_tpu_interleaves_no_maps(platform, moved):
    run = jax.jit(partial(product, before=4))
    traced = run.trace(normal(0, 12, 3, 6, 5), normal(1, 3, 4, 2))
    program = traced.lower(lowering_platforms=(platform,)).as_text()
    transposes = [
        line for line in program.splitlines() if "stablehlo.transpose" in line
    ]
    assert transposes
    assert any("x90xf32" in line for line in transposes) == moved  # 3 * 6 * 5 pixels


@pytest.mark.parametrize(
    ("operation", "shape"),
    [
        (partial(uneven_product, groups=4, before=5), (4, 7)),
        (parallel_product, (2, 3, 4, 2)),
    ],
)
@pytest.mark.parametrize(("platform", "moved"), [("rocm", True), ("tpu", False)])
def test_nor_does_it_for_the_later_schemes(platform, moved, operation, shape):
    traced = jax.jit(operation).trace(normal(0, 12, 90), normal(1, *shape))
    program = traced.lower(lowering_platforms=(platform,)).as_text()
    moves = ("stablehlo.transpose", "stablehlo.concatenate", "stablehlo.slice")
    lines = [line for line in program.splitlines() if any(m in line for m in moves)]
    assert any("x90xf32" in line for line in lines) == moved


@pytest.mark.parametrize(
    ("platform", "operation", "shape"),
    [
        ("tpu", product, (3, 4, 4)),
        ("cuda", product, (3, 4, 4)),
        ("tpu", partial(depthwise, **AROUND), (3, 3, 1, 12)),
        ("cuda", partial(depthwise, **AROUND), (3, 3, 1, 12)),
        ("tpu", partial(convolution, **AROUND), (3, 3, 12, 4)),
        ("tpu", partial(uneven_product, groups=4), (4, 7)),
        ("cuda", partial(uneven_product, groups=4), (4, 7)),
        ("cuda", parallel_product, (2, 3, 4, 4)),
    ],
)
def test_gradients_of_kernels_are_not_rounded_to_bfloat16(
    platform: str, operation: Callable, shape: tuple[int, ...]
):
    """Several chips sum them as they are, in float32."""
    x = normal(0, 12, 3, 6, 5).astype(jnp.bfloat16)

    def gradient(kernel: jax.Array) -> jax.Array:
        y, pull_back = jax.vjp(partial(operation, x), kernel)
        return pull_back(jnp.ones_like(y))[0]

    with form(platform):
        found = jax.jit(gradient)(normal(1, *shape))
    assert found.dtype == jnp.float32
    assert (found.astype(jnp.bfloat16) != found).mean() > 0.5


@pytest.mark.parametrize("options", [{}, QUICK_SUMS])
def test_on_a_cpu_what_is_around_a_depthwise_layer_runs_over_rows(options: dict):
    """Over images of 7 pixels XLA:CPU is slow."""
    kernel = normal(1, 3, 3, 1, 12)

    def loss(rows: jax.Array) -> jax.Array:
        y = depthwise(relu6(rows.reshape(12, 3, 7, 7)), kernel, 1, ((1, 1), (1, 1)))
        return (relu6(y) ** 2).sum()

    gradient = jax.jit(jax.grad(loss), compiler_options=options)
    program = gradient.lower(normal(0, 12, 147)).compile().as_text()
    entry = entry_of(program)
    fusions = re.findall(r"= f32\[([\d,]*)\]\S* fusion\(", entry)
    assert "12,147" in fusions
    assert "12,3,7,7" not in fusions
    # Shifted products, forward and backward, are in branches and in nothing else.
    assert entry.count(" conditional(") == 2
    assert "12,3,9,9" not in entry


def entry_of(program: str) -> str:
    return program[program.index("\nENTRY") :]
