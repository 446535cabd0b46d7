"""An int8 ONNX file without what can be derived when it is read.

Of a small net onnxruntime's quantiser stores more numbers about channels than weights:
scale and zero point of each weight and of each bias, and names of a line each.
"""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEAST = 256  # numbers of a kernel that is worth to be stored as int8
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model in fewer bytes.

    Args:
      model: of onnxruntime's quantiser, with pairs of QuantizeLinear and
        DequantizeLinear.

    Returns:
      One in which the scales of biases are products of those of inputs and weights,
      zero points of 0 are left out, kernels that are computed with in float32 are
      stored as int8 too, equal constants are one, and names are short.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    derive_bias_scales(graph)
    store_kernels_as_int8(graph)
    remove_unused(graph)
    merge_equal(graph)
    shorten_names(graph)
    del graph.value_info[:]
    own = [entry for entry in model.metadata_props if "onnx." not in entry.key]
    del model.metadata_props[:]
    model.metadata_props.extend(own)  # without the quantiser's notes
    return model


def derive_bias_scales(graph: onnx.GraphProto) -> None:
    """A bias counts in products of its convolution's input and weight."""
    makers = {name: node for node in graph.node for name in node.output}
    added = []
    for node in graph.node:
        if node.op_type != "Conv" or len(node.input) < 3:
            continue
        x, kernel, bias = (makers.get(name) for name in node.input)
        # A layer in float32 may share its bias with one in int8, as all that are 0.
        if not all(m and m.op_type == "DequantizeLinear" for m in (x, kernel, bias)):
            continue
        scale = f"{bias.input[0]}_derived_scale"
        added.append(helper.make_node("Mul", [x.input[1], kernel.input[1]], [scale]))
        bias.input[1] = scale
        del bias.input[2:]  # 0, as where there is none
    put_first(graph, added)


def store_kernels_as_int8(graph: onnx.GraphProto) -> None:
    """Kernels of float32, with a scale for each feature; products of constants are
    computed once, when a runtime reads the file."""
    arrays = {array.name: array for array in graph.initializer}
    users: dict[str, list[str]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node.op_type)
    added = []
    for name, tensor in arrays.items():
        if tensor.data_type != TensorProto.FLOAT or set(users.get(name, ())) != {
            "Conv"
        }:
            continue
        kernel = numpy_helper.to_array(tensor)
        if kernel.ndim != 4 or kernel.size < LEAST:
            continue
        whole, scale = rounded(kernel)
        tensor.CopyFrom(numpy_helper.from_array(whole, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        floats = f"{name}_floats"
        added += [
            helper.make_node("Cast", [f"{name}_int8"], [floats], to=TensorProto.FLOAT),
            helper.make_node("Mul", [floats, f"{name}_scale"], [name]),
        ]
    put_first(graph, added)


def rounded(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A kernel (features, ...) as int8, and the scale of each feature (features, 1,
    ...)."""
    axes = tuple(range(1, kernel.ndim))
    most = np.abs(kernel).max(axes, keepdims=True)
    scale = np.where(most > 0, most / 127, 1).astype(np.float32)
    return np.round(kernel / scale).astype(np.int8), scale


def put_first(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Adds nodes that depend on constants only."""
    whole = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(whole)


def remove_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def merge_equal(graph: onnx.GraphProto) -> None:
    """Of constants with the same numbers the first stands for all."""
    first: dict[tuple, str] = {}
    names, kept = {}, []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        key = tensor.data_type, array.shape, array.tobytes()
        names[tensor.name] = first.setdefault(key, tensor.name)
        if names[tensor.name] == tensor.name:
            kept.append(tensor)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    rename(graph, names)


def shorten_names(graph: onnx.GraphProto) -> None:
    """Names of tensors but for the inputs and outputs of the graph; nodes need none."""
    public = {value.name for value in (*graph.input, *graph.output)}
    tensors = [tensor.name for tensor in graph.initializer]
    tensors += [name for node in graph.node for name in node.output]
    new = {name: short(i) for i, name in enumerate(tensors) if name not in public}
    for node in graph.node:
        node.ClearField("name")
    rename(graph, new)


def short(number: int) -> str:
    """a, b, ... z, ba, bb, ..."""
    text = LETTERS[number % 26]
    return text if number < 26 else short(number // 26) + text


def rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Gives tensors other names, wherever they occur."""
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
