"""Nets whose blocks are computed again for their gradients."""

from collections.abc import Callable
from functools import partial

import chex
import jax
import numpy as np
import pytest
from flax import linen as nn

import gpwjax
from gpwjax.mobilenet import Block, MobileNet
from gpwjax.ops.activations import relu6
from gpwjax.ops.remat import rematerialised


def step_of(model: nn.Module, images: np.ndarray, **kwargs) -> Callable:
    """From variables to the loss, its gradient and the new statistics."""

    @partial(jax.value_and_grad, has_aux=True)
    def step(params, batch_stats):
        y, updated = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            rngs={"dropout": jax.random.key(3)},
            mutable=["batch_stats"],
            **kwargs,
        )
        return (y**2).mean(), updated

    return lambda variables: step(variables["params"], variables["batch_stats"])


@pytest.mark.parametrize(
    "shallow", ["densenet_bc_l100", "efficientnet_b0"], indirect=True
)
def test_loss_gradient_and_statistics_are_the_same(shallow):
    model, variables, images = shallow
    expected, actual = (
        jax.jit(step_of(net, images, train=True))(variables)
        for net in (model, model.clone(remat=True))
    )
    (loss, stats), gradient = actual
    (expected_loss, expected_stats), expected_gradient = expected
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    chex.assert_trees_all_close(stats, expected_stats, rtol=1e-4, atol=1e-5)
    # Of the largest one: that of a bias before a normalisation is but rounding.
    largest = max(abs(g).max() for g in jax.tree.leaves(expected_gradient))
    atol = 1e-5 * float(largest)
    chex.assert_trees_all_close(gradient, expected_gradient, rtol=1e-4, atol=atol)


def test_variables_and_counts_are_the_same(shallow):
    plain, saving = shallow.model, shallow.model.clone(remat=True)
    shapes = [
        jax.eval_shape(
            partial(net.init, train=False), jax.random.key(0), shallow.images
        )
        for net in (plain, saving)
    ]
    chex.assert_trees_all_equal_shapes_and_dtypes(*shapes)
    assert gpwjax.count(saving, (8, 8, 3)) == gpwjax.count(plain, (8, 8, 3))


class Blocks(nn.Module):
    """Blocks of MobileNet, one after the other."""

    block: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layers = MobileNet(10, 16).layers(train=True)
        for i in range(6):
            x = self.block(layers, 32, 1, name=f"block{i}")(x)
        return relu6(x)


def test_a_train_step_needs_less_than_half_of_the_memory(draw_variables):
    x = np.zeros((32, 4, 16, 16), np.float32)
    variables = draw_variables(Blocks(Block), x)
    needed = [
        jax.jit(step_of(Blocks(block), x))
        .lower(variables)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for block in (Block, rematerialised(Block))
    ]
    assert needed[1] < needed[0] / 2
