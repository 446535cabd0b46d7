"""The arrays of a state as one of each dtype: TensorStore takes over a millisecond for
each array, however small, and a state has hundreds."""

import math
from collections import defaultdict
from collections.abc import Mapping

import jax
import numpy as np

from .state import TrainState


def on_host(state: TrainState) -> TrainState:
    """A state of NumPy arrays; each array is whole on each device."""
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), state)


def packed(state: TrainState) -> dict[str, np.ndarray]:
    """The elements of all arrays of a state on the host, by their dtypes' names."""
    parts = defaultdict(list)
    for leaf in jax.tree.leaves(state):
        parts[leaf.dtype.name].append(leaf.ravel())
    return {dtype: np.concatenate(arrays) for dtype, arrays in parts.items()}


def unpacked(arrays: Mapping[str, np.ndarray], like: TrainState) -> TrainState:
    """The state on the host that `packed` made the arrays of.

    Args:
      like: its shapes and dtypes.

    Raises:
      ValueError: the arrays are too short for it.
    """
    leaves, structure = jax.tree.flatten(like)
    begins = dict.fromkeys(arrays, 0)
    for i, leaf in enumerate(leaves):
        name, begin = leaf.dtype.name, begins[leaf.dtype.name]
        begins[name] = end = begin + math.prod(leaf.shape)
        leaves[i] = arrays[name][begin:end].reshape(leaf.shape)
    return structure.unflatten(leaves)


def placed(state: TrainState, like: TrainState) -> TrainState:
    """A state on the host as JAX's arrays, with the shardings of `like`."""

    def place(array: np.ndarray, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.make_array_from_callback(
            leaf.shape, leaf.sharding, lambda part: array[part]
        )

    return jax.tree.map(place, state, like)
