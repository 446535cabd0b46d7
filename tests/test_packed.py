"""The arrays of a state as one of each dtype."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from train.packed import on_host, packed, placed, unpacked
from train.state import Metrics, TrainState


@pytest.fixture(params=[1, 2], ids=["one device", "two devices"])
def state(request) -> TrainState:
    """Of arrays of several dtypes, of none to three axes, and an empty one."""
    rng = np.random.default_rng(0)
    params = {
        "kernel": rng.normal(size=(2, 3, 5)).astype(np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "half": jnp.asarray(rng.normal(size=(7,)), jnp.bfloat16),
        "odd": np.array([np.nan, -0.0, np.inf, 1e-45], np.float32),
    }
    made = TrainState.create(
        apply_fn=None,
        params=jax.tree.map(jnp.asarray, params),
        tx=optax.adam(1e-3),
        batch_stats={"mean": jnp.arange(3.0)},
        metrics=Metrics.zero(),
    )
    shape = (request.param,)
    mesh = jax.make_mesh(shape, ("data",), axis_types=(AxisType.Auto,))
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.device_put(made.replace(step=jnp.int32(7)), whole)


def test_unpacked_is_what_was_packed_to_the_bit(state):
    arrays = packed(on_host(state))
    assert set(arrays) == {"float32", "bfloat16", "int32"}
    chex.assert_rank(list(arrays.values()), 1)
    back = placed(unpacked(arrays, state), state)
    chex.assert_trees_all_equal_shapes_and_dtypes(back, state)
    for old, new in zip(*map(jax.tree.leaves, (state, back)), strict=True):
        assert np.asarray(new).tobytes() == np.asarray(old).tobytes()
        assert new.sharding == old.sharding


def test_packed_arrays_are_not_those_that_the_next_step_overwrites(state):
    arrays = packed(on_host(state))
    kept = {name: array.copy() for name, array in arrays.items()}
    twice = jax.jit(lambda s: jax.tree.map(lambda x: x + x, s), donate_argnums=0)
    jax.block_until_ready(twice(state))
    for name, array in arrays.items():
        assert array.tobytes() == kept[name].tobytes()


def test_arrays_of_a_smaller_state_are_refused(state):
    larger = state.replace(batch_stats={"mean": jnp.zeros(1000)})
    with pytest.raises(ValueError, match="cannot reshape"):
        unpacked(packed(on_host(state)), larger)
