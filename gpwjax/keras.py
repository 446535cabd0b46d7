"""The authors' Keras weights as our variables.

A Keras model names its arrays LAYER/ARRAY:0. Each net has a function here that turns
the path of one of our modules into the name of the Keras layer; the arrays' names and
axes are the same for all. The files that Keras writes are read in keras_files.py.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gpwjax.densenet import DenseNet
from gpwjax.efficientnet import EfficientNet
from gpwjax.keras_files import find_datasets, open_keras
from gpwjax.mobilenet import MobileNet
from gpwjax.mobilenet_v3 import MobileNetV3Large
from gpwjax.net import stage_of_block
from gpwjax.weights import expected_arrays, mismatch, one_line, unflatten

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
      weights: a file of Keras, .hdf5, .weights.h5 or .keras, or arrays by their Keras
        names, such as {"conv1/kernel:0": array of (3, 3, 3, 32), ...}.

    Returns:
      {"params": ..., "batch_stats": ...}, float32.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: arrays are missing, of another shape, not of finite floats, or not the
        model's: the message lists them. Or the file is not HDF5, or not as Keras writes
        it, or the net is none of the authors', or grouped by another scheme than the
        paper's.
    """
    if type(model) not in LAYER_NAMES:
        names = ", ".join(kind.__name__ for kind in LAYER_NAMES)
        raise ValueError(f"model must be one of {names}, got {type(model).__name__}")
    if model.has_later_scheme:
        raise ValueError(
            "scheme must be divisible for weights of the authors' Keras nets, got "
            f"{model.scheme!r}"
        )
    if isinstance(weights, Mapping):
        return convert({n: np.asarray(a) for n, a in weights.items()}, model)
    if not Path(weights).is_file():
        raise FileNotFoundError(f"no Keras weights file {weights}")
    try:
        with open_keras(Path(weights)) as file:
            return convert(find_datasets(file), model)
    except OSError as error:
        raise ValueError(f"{weights} is not an HDF5 file: {error}") from error
    except Exception as error:  # h5py raises many kinds on broken files
        raise ValueError(f"cannot use {weights}: {one_line(error)}") from error


def convert(weights: Mapping[str, Any], model: nn.Module) -> dict:
    """Arrays or h5py datasets, by their Keras names, as our variables.

    Raises:
      ValueError: listing all that is wrong with them.
    """
    if isinstance(model, DenseNet):
        weights = numbered_from_zero(weights)
    arrays, problems, used = {}, [], set()
    for name, expected in expected_arrays(model).items():
        keras_name = array_name(name, model, LAYER_NAMES[type(model)])
        in_keras_3 = keras_name.replace("/depthwise_kernel:", "/kernel:")
        if keras_name not in weights and in_keras_3 in weights:
            keras_name = in_keras_3
        used.add(keras_name)
        if keras_name not in weights:
            problems.append(f"missing: {keras_name}")
            continue
        array = weights[keras_name]
        shape = keras_shape(keras_name, expected.shape)
        if array.shape != shape:
            problems.append(f"{keras_name} is {array.shape}, must be {shape}")
        elif not jnp.issubdtype(array.dtype, jnp.floating):
            problems.append(f"{keras_name} is of {array.dtype}, must be of floats")
        else:
            # Read only here, since an array of another shape may be of any size.
            array = from_keras_axes(array[...], expected.shape)
            with np.errstate(over="ignore"):  # to infinity, which is refused
                # A copy of ours; jnp.asarray would compile one for each shape.
                ours = np.array(array, np.float32)
            if not np.isfinite(ours).all():
                problems.append(f"{keras_name} has numbers that are not finite")
            arrays[name] = jax.device_put(ours)
    problems += [f"unknown: {name}" for name in weights if name not in used]
    if problems:
        raise mismatch(model, problems)
    return unflatten(arrays)


def numbered_from_zero(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Renames layers that the authors left without a name: conv2d, conv2d_1, ...

    Keras counts them through a session: those of a second net begin at a higher number.
    """
    unnamed = re.compile(r"(conv2d|batch_normalization)(?:_([1-9][0-9]*))?(/.*)")
    found = {name: unnamed.fullmatch(name) for name in weights}
    first: dict[str, int] = {}
    for match in filter(None, found.values()):
        kind, number = match[1], int(match[2] or 0)
        first[kind] = min(number, first.get(kind, number))

    def renamed(name: str) -> str:
        match = found[name]
        if match is None:
            return name
        number = int(match[2] or 0) - first[match[1]]
        return match[1] + (f"_{number}" if number else "") + match[3]

    return {renamed(name): array for name, array in weights.items()}


def array_name(name: str, model: nn.Module, layer_name: Callable) -> str:
    """params/stem/kernel -> conv1/kernel:0."""
    _, *path, array = name.split("/")
    layer = layer_name(path, model)
    if path[-1].endswith("norm") or path[-1].startswith("BatchNorm"):
        array = BATCH_NORM[array]
    if path[-1] == "depthwise":
        array = "depthwise_kernel"
    return f"{layer}/{array}:0"


def pointwise_layer(
    part: str, model: nn.Module, grouped: str, dense: str, dense_norm: str = ""
) -> str:
    """The Keras layer of a part of a `Pointwise`.

    Args:
      part: K, L, or BatchNorm_0 and BatchNorm_1, those of K and L.
      model: the net.
      grouped: name of the whole in the grouped nets, where each part adds a suffix.
      dense, dense_norm: names of the convolution and its norm in the dense nets.
    """
    if model.min_channels is None:
        return {"K": dense, "BatchNorm_0": dense_norm}[part]
    suffixes = {
        "K": "_conv",
        "BatchNorm_0": "_bn",
        "L": "_group_interconn_conv",
        "BatchNorm_1": "_group_interconn_bn",
    }
    return grouped + suffixes[part]


def mobilenet_layer(path: list[str], model: MobileNet) -> str:
    """["block0", "pointwise", "L"] -> conv_pw_1_bn_group_interconn_conv."""
    top = {"stem": "conv1", "stem_norm": "conv1_bn", "head": "conv_preds"}
    if path[0] in top:
        return top[path[0]]
    number = int(path[0].removeprefix("block")) + 1
    if path[1] == "pointwise":
        name = f"conv_pw_{number}"
        return pointwise_layer(path[2], model, f"{name}_bn", name, f"{name}_bn")
    return {
        "depthwise": f"conv_dw_{number}",
        "depthwise_norm": f"conv_dw_{number}_bn",
    }[path[1]]


def efficientnet_layer(path: list[str], model: EfficientNet) -> str:
    """["block1", "project", "L"] -> k_block2a__0project_conv_group_interconn_conv."""
    dense = model.min_channels is None
    net = "" if dense else "k_"
    top = {"stem": "stem_conv", "stem_norm": "stem_bn", "head": "probs"}
    if path[0] in top:
        return net + top[path[0]]
    if path[0] == "top":
        return net + pointwise_layer(path[1], model, "top_conv", "top_conv", "top_bn")
    stage, number = stage_of_block(path[0], model)
    block = f"{net}block{stage}{ascii_lowercase[number]}_{'' if dense else '_0'}"
    match path[1:]:
        case ["depthwise"]:
            return f"{block}dwconv"
        case ["depthwise_norm"]:
            return f"{block}bn"
        case ["squeeze_excite", layer, part]:
            return block + pointwise_layer(part, model, f"se_{layer}", f"se_{layer}")
        case [layer, part]:
            grouped = {"expand": "expand", "project": "project_conv"}[layer]
            return block + pointwise_layer(
                part, model, grouped, f"{layer}_conv", f"{layer}_bn"
            )
    raise KeyError(path)


def mobilenet_v3_layer(path: list[str], model: MobileNetV3Large) -> str:
    """["block1", "project", "L"] -> expanded_conv_1/project_group_interconn_conv."""
    top = {"stem": "Conv", "stem_norm": "Conv/BatchNorm", "head": "Logits"}
    if path[0] in top:
        return top[path[0]]
    last = {"top": "Conv_1", "hidden": "Conv_2"}
    if path[0] in last:
        name = last[path[0]]
        return pointwise_layer(path[1], model, name, name, f"{name}/BatchNorm")
    number = path[0].removeprefix("block")
    block = "expanded_conv" if number == "0" else f"expanded_conv_{number}"
    match path[1:]:
        case ["depthwise"]:
            return f"{block}/depthwise"
        case ["depthwise_norm"]:
            return f"{block}/depthwise/BatchNorm"
        case ["squeeze_excite", layer, part]:
            name = {"reduce": "Conv", "expand": "Conv_1"}[layer]
            name = f"{block}/squeeze_excite/{name}"
            return pointwise_layer(part, model, name, name)
        case [layer, part]:
            name = f"{block}/{layer}"
            return pointwise_layer(part, model, name, name, f"{name}/BatchNorm")
    raise KeyError(path)


def densenet_layer(path: list[str], model: DenseNet) -> str:
    """["block0", "pointwise", "L"] -> dn1_b1_k_group_interconn_conv.

    Layers that the authors left without a name have Keras' numbers, in their order.
    """
    top = {"stem": "conv2d", "top_norm": "bn", "head": "softmax"}
    if path[0] in top:
        return top[path[0]]
    dense = model.min_channels is None
    if path[0].startswith("transition"):
        number = int(path[0].removeprefix("transition"))
        name = f"dn{path[0]}"
        if path[1] == "norm":
            return f"{name}_bn"
        # After the stem, the units before it and the transitions, this one included.
        convolutions = 2 * sum(model.blocks_per_stage[:number]) + number
        return pointwise_layer(path[2], model, name, f"conv2d_{convolutions}")
    stage, unit = stage_of_block(path[0], model)
    block = int(path[0].removeprefix("block"))
    convolution = 2 * block + stage if dense else block + 1
    match path[1:]:
        case ["pointwise", part]:
            name = f"dn{stage}_b{unit + 1}_k"
            return pointwise_layer(part, model, name, f"conv2d_{convolution}")
        case ["conv"]:
            return f"conv2d_{convolution + dense}"
        case ["norm" | "pointwise_norm" as layer]:
            norm = 2 * block + (layer == "pointwise_norm")
            return f"batch_normalization_{norm}" if norm else "batch_normalization"
    raise KeyError(path)


LAYER_NAMES: dict[type, Callable] = {
    DenseNet: densenet_layer,
    EfficientNet: efficientnet_layer,
    MobileNet: mobilenet_layer,
    MobileNetV3Large: mobilenet_v3_layer,
}


def keras_shape(keras_name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in Keras of an array that is `shape` here."""
    if keras_name in ("conv_preds/kernel:0", "Logits/kernel:0"):
        return (1, 1, *shape)  # the MobileNets' classifier, a 1x1 convolution there
    if len(shape) == 3:  # groups, in / groups, features / groups
        groups, inputs, features = shape
        return (1, 1, inputs, groups * features)
    if len(shape) == 4 and shape[2] == 1:  # of a depthwise convolution
        return (*shape[:2], shape[3], 1)
    return shape


def from_keras_axes(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Brings an array of Keras to the axes that it has here."""
    if len(shape) == 3:  # features run over the groups first
        groups, inputs, features = shape
        return array.reshape(inputs, groups, features).transpose(1, 0, 2)
    return array.reshape(shape)
