"""The authors' Keras weights as our variables.

A Keras model names its arrays LAYER/ARRAY:0. Each net has a function here that turns
the path of one of our modules into the name of the Keras layer; the arrays' names and
axes are the same for all.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gpwjax.mobilenet import MobileNet
from gpwjax.weights import expected_arrays, unflatten

BATCH_NORM = {
    "scale": "gamma",
    "bias": "beta",
    "mean": "moving_mean",
    "var": "moving_variance",
}


def from_keras(
    model: nn.Module, weights: str | os.PathLike | Mapping[str, np.ndarray]
) -> dict:
    """Turns the weights of the authors' Keras net into the variables of ours.

    Args:
      model: the same net, made by `create_model`.
      weights: an .hdf5 file of the authors, or arrays by their Keras names, such as
        {"conv1/kernel:0": array of (3, 3, 3, 32), ...}.

    Returns:
      {"params": ..., "batch_stats": ...}, float32.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: arrays are missing, of another shape, or not the model's: the message
        lists all of them. Or the file is not HDF5, or the net is none of the authors'.
    """
    layer_name = LAYER_NAMES.get(type(model))
    if layer_name is None:
        names = ", ".join(kind.__name__ for kind in LAYER_NAMES)
        raise ValueError(f"model must be one of {names}, got {type(model).__name__}")
    if not isinstance(weights, Mapping):
        weights = read_hdf5(weights)
    arrays, problems, used = {}, [], set()
    for name, expected in expected_arrays(model).items():
        keras_name = array_name(name, model, layer_name)
        used.add(keras_name)
        if keras_name not in weights:
            problems.append(f"missing: {keras_name}")
            continue
        array = np.asarray(weights[keras_name])
        shape = keras_shape(keras_name, expected.shape)
        if array.shape == shape:
            arrays[name] = jnp.asarray(from_keras_axes(array, expected.shape))
        else:
            problems.append(f"{keras_name} is {array.shape}, must be {shape}")
    problems += [f"unknown: {name}" for name in weights if name not in used]
    if problems:
        raise ValueError(
            f"the arrays are not those of this {type(model).__name__}: "
            + "; ".join(problems)
        )
    return unflatten(arrays)


def read_hdf5(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The weights of a Keras .hdf5 file by name, without the optimizer's."""
    import h5py

    if not Path(path).is_file():
        raise FileNotFoundError(f"no Keras weights file {path}")
    weights = {}

    def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
        # Stored as LAYER/LAYER/ARRAY:0, where LAYER itself may hold slashes.
        if isinstance(item, h5py.Dataset):
            layer, _, array = name.rpartition("/")
            weights[f"{layer[: len(layer) // 2]}/{array}"] = item[()]

    try:
        with h5py.File(path) as file:
            file.get("model_weights", file).visititems(collect)
    except OSError as error:
        raise ValueError(f"{path} is not an HDF5 file: {error}") from error
    return weights


def array_name(name: str, model: nn.Module, layer_name: Callable) -> str:
    """params/stem/kernel -> conv1/kernel:0."""
    _, *path, array = name.split("/")
    layer = layer_name(path, model)
    if path[-1].endswith("norm") or path[-1].startswith("BatchNorm"):
        array = BATCH_NORM[array]
    if path[-1] == "depthwise":
        array = "depthwise_kernel"
    return f"{layer}/{array}:0"


def mobilenet_layer(path: list[str], model: MobileNet) -> str:
    """["block0", "pointwise", "L"] -> conv_pw_1_bn_group_interconn_conv."""
    top = {"stem": "conv1", "stem_norm": "conv1_bn", "head": "conv_preds"}
    if path[0] in top:
        return top[path[0]]
    number = int(path[0].removeprefix("block")) + 1
    if path[1] == "pointwise":
        return pointwise_layer(path[2], number, model)
    return {
        "depthwise": f"conv_dw_{number}",
        "depthwise_norm": f"conv_dw_{number}_bn",
    }[path[1]]


def pointwise_layer(part: str, number: int, model: MobileNet) -> str:
    """The Keras layer of a part of MobileNet's pointwise layer `number` (from 1)."""
    if model.min_channels is None:
        return {
            "K": f"conv_pw_{number}",
            "BatchNorm_0": f"conv_pw_{number}_bn",
        }[part]
    return {
        "K": f"conv_pw_{number}_bn_conv",
        "BatchNorm_0": f"conv_pw_{number}_bn_bn",
        "L": f"conv_pw_{number}_bn_group_interconn_conv",
        "BatchNorm_1": f"conv_pw_{number}_bn_group_interconn_bn",
    }[part]


LAYER_NAMES: dict[type, Callable] = {MobileNet: mobilenet_layer}


def keras_shape(keras_name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in Keras of an array that is `shape` here."""
    if len(shape) == 2:  # the classifier: a 1x1 convolution there
        return (1, 1, *shape)
    if len(shape) == 3:  # groups, in / groups, features / groups
        groups, inputs, features = shape
        return (1, 1, inputs, groups * features)
    if "depthwise_kernel" in keras_name:
        return (*shape[:2], shape[3], 1)
    return shape


def from_keras_axes(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Brings an array of Keras to the axes that it has here."""
    if len(shape) == 3:  # features run over the groups first
        groups, inputs, features = shape
        return array.reshape(inputs, groups, features).transpose(1, 0, 2)
    return array.reshape(shape)
