"""JAX's transformations of nets of each family, grouped."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.nnx import bridge

from train.config import Config
from train.optimizer import make_optimizer, make_schedule
from train.state import Metrics, TrainState
from train.step import StepSettings, train_step


def assert_close(actual: jax.Array, expected: jax.Array) -> None:
    """Up to the rounding of float32."""
    largest = float(abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * largest)


# The quickest one without jit.
@pytest.mark.parametrize("shallow", ["mobilenet"], indirect=True)
def test_jit_changes_nothing(shallow):
    model, variables, images = shallow
    apply = partial(model.apply, train=False)
    assert_close(jax.jit(apply)(variables, images), apply(variables, images))


def test_gradient_is_a_numeric_derivative(shallow):
    model, variables, images = shallow
    rng = np.random.default_rng(2)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        logits, _ = model.apply(
            variables | {"params": params},
            images,
            train=True,
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats"],
        )
        return (logits**2).mean()

    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, variables["params"])
        way = jax.tree.map(lambda p: rng.normal(size=p.shape), params)

        def run(step):
            return jax.device_get(
                loss(jax.tree.map(lambda p, w: p + step * w, params, way))
            )

        _, gradient = run(0)
        step = 1e-8  # so small that no activation meets a kink on the way
        numeric = (run(step)[0] - run(-step)[0]) / (2 * step)
    assert numeric.dtype == np.float64
    derivative = sum(jax.tree.leaves(jax.tree.map(np.vdot, gradient, way)))
    np.testing.assert_allclose(derivative, numeric, rtol=1e-5)


# All kinds of convolutions, and squeeze-and-excitation.
@pytest.mark.parametrize(
    "shallow", ["densenet_bc_l100", "mobilenet_v3_large"], indirect=True
)
def test_vmap_over_variables_is_one_net_at_a_time(shallow):
    model, variables, images = shallow
    nets = [variables, jax.tree.map(lambda a: a * np.float32(1.5), variables)]
    apply = partial(model.apply, train=False)
    stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *nets)
    at_once = jax.jit(jax.vmap(apply, in_axes=(0, None)))(stacked, images)
    one = jax.jit(apply)
    for actual, each in zip(at_once, nets, strict=True):
        assert_close(actual, one(each, images))


@pytest.mark.parametrize("shallow", ["mobilenet"], indirect=True)
def test_a_flax_nnx_module_made_of_a_net_gives_its_logits(shallow):
    model, variables, images = shallow

    def make() -> bridge.ToNNX:
        return bridge.ToNNX(model).lazy_init(images, rngs=nnx.Rngs(0), train=False)

    graph, *states = nnx.split(nnx.eval_shape(make), nnx.Param, nnx.BatchStat)
    for state, collection in zip(states, ("params", "batch_stats"), strict=True):
        nnx.replace_by_pure_dict(state, variables[collection])
    net = nnx.merge(graph, *states)
    logits = nnx.jit(lambda net, images: net(images, train=False))(net, images)
    expected = jax.jit(partial(model.apply, train=False))(variables, images)
    assert_close(logits, expected)


def test_train_step_lowers_for_tpu_and_cuda(shallow):
    model, variables, _ = shallow
    config = Config("digits", image_size=8)
    state = TrainState.create(
        apply_fn=model.apply,
        tx=make_optimizer(config, make_schedule(config, 100)),
        metrics=Metrics.zero(),
        **variables,
    ).replace(step=jnp.zeros((), jnp.int32))
    state, key = jax.eval_shape(lambda: (state, jax.random.key(0)))
    images = jax.ShapeDtypeStruct((4, 4, 4, 3), jnp.uint8)
    labels = jax.ShapeDtypeStruct((4,), jnp.int32)
    exported = jax.export.export(train_step, platforms=("tpu", "cuda"))(
        state, images, labels, key, settings=StepSettings.of(config)
    )
    assert exported.platforms == ("tpu", "cuda")
    new_state, loss = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    chex.assert_trees_all_equal_shapes_and_dtypes(new_state, state)
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    # All of it is compiled by XLA: no library of one platform is called.
    assert "custom_call" not in exported.mlir_module()
