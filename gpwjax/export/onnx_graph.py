"""A net as an ONNX graph.

The net is traced with each of its layers as one operation; what JAX shows between them
(activations, sums, the interleave, pooling: twenty kinds of operation) becomes ONNX
nodes one by one. So a net has one definition, and its graph follows it.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from flax import linen as nn
from jax.extend.core import Literal

from gpwjax.export.evidence import logits_and_maps
from gpwjax.export.onnx_file import Graph
from gpwjax.export.onnx_layers import Layer, convolutions_of
from gpwjax.export.onnx_trace import trace
from gpwjax.export.onnx_values import Axis, Value, first_full, replace_axis, size_of
from gpwjax.ops.batch_norm import BatchNorm

BINARY = {
    "add": "Add",
    "add_any": "Add",  # of derivatives
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "max": "Max",
    "min": "Min",
    "gt": "Greater",
    "lt": "Less",
    "and": "And",
}
# Functions of jax.nn that ONNX has as one node. onnxruntime computes them together with
# the convolution before them; without this they would be several nodes.
ACTIVATIONS: dict[str, tuple[str, Sequence[float], dict[str, float]]] = {
    "relu": ("Relu", (), {}),
    "relu6": ("Clip", (0, 6), {}),
    "hard_sigmoid": ("HardSigmoid", (), {"alpha": 1 / 6, "beta": 0.5}),
    "hard_silu": ("HardSwish", (), {}),
}


def make_graph(
    model: nn.Module, variables: Mapping, images: str, size: int, graph: Graph
) -> str:
    """Adds a net to a graph.

    Args:
      model: as of `create_model`, computing in float32.
      variables: its own.
      images: name of a tensor (N, size, size, 3) of floats in [0, 1].
      size: height and width of the images.
      graph: what the nodes are added to.

    Returns:
      The name of the logits (N, classes).

    Raises:
      NotImplementedError: the net computes something that has no translation yet.
    """
    net = partial(model.apply, variables, train=False)
    (logits,) = add_program(net, images, size, graph)
    return graph.node("Flatten", logits.name)


def make_graph_with_maps(
    model: nn.Module, variables: Mapping, images: str, size: int, graph: Graph
) -> str:
    """As `make_graph`; the graph's result `maps` is that of `logits_and_maps`."""
    net = partial(logits_and_maps, model, variables)
    logits, maps = add_program(net, images, size, graph)
    graph.node("Transpose", maps.name, perm=[0, 2, 3, 1], result="maps")
    return graph.node("Flatten", logits.name)


def add_program(net: Callable, images: str, size: int, graph: Graph) -> list[Value]:
    """Adds a function of images (N, size, size, 3) to a graph; its results."""
    traced, layers = trace(net, size)
    n, h, w, c = map(Axis, traced.in_avals[0].shape)
    name = graph.node("Transpose", images, perm=[0, 3, 1, 2])
    axes, dims = ([(axis,) for axis in of] for of in ((n, c, h, w), (n, h, w, c)))
    image = Value(name, tuple(axes), tuple(dims))
    return Translation(graph, layers, traced.jaxpr).run(traced.jaxpr, [image])


class Translation:
    """Adds the operations of a traced program to a graph, one by one."""

    def __init__(self, graph: Graph, layers: Sequence[Layer], jaxpr: Any):
        self.graph, self.layers = graph, layers
        read = (x for e in jaxpr.eqns for x in e.invars if not isinstance(x, Literal))
        self.reads = Counter(map(id, read))
        self.kernels: dict[int, list[str]] = {}  # of the layers by their numbers
        # Of the layer with this result: features, kernel and bias of each.
        self.convolutions: dict[str, list[tuple[Any, ...]]] = {}

    def run(self, jaxpr: Any, inputs: Sequence[Value]) -> list[Value]:
        """The results of a program for these inputs."""
        values: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))

        def value(x: Any) -> Value | float:
            return x.val if isinstance(x, Literal) else values[x]

        for eqn in jaxpr.eqns:
            # Functions within the program: activations, jitted or with own gradients.
            inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
            operands = [value(x) for x in eqn.invars]
            name = eqn.params.get("name")
            if name in ACTIVATIONS and len(operands) == 1:  # not with its derivative
                results = [self.activation(name, *operands)]
            elif inner is not None:
                results = self.run(getattr(inner, "jaxpr", inner), operands)
            else:
                results = [self.operation(eqn, operands)]
            values.update(zip(eqn.outvars, results, strict=True))
        return [value(x) for x in jaxpr.outvars]

    def operation(self, eqn: Any, operands: list[Any]) -> Value:
        name, shape = eqn.primitive.name, eqn.outvars[0].aval.shape
        x = operands[0]
        if name in BINARY:
            return self.elementwise(BINARY[name], *operands)
        match name:
            case "layer":
                only = self.reads[id(eqn.invars[0])] == 1
                number, linear = eqn.params["number"], eqn.params["linear"]
                return self.layer(number, x, shape, only, linear)
            case "select_n":
                which, if_not, if_so = operands
                return self.elementwise("Where", which, if_so, if_not)
            case "copy":
                return x
            case "neg":
                return dataclasses.replace(x, name=self.graph.node("Neg", x.name))
            case "erfc":
                share = dataclasses.replace(x, name=self.graph.node("Erf", x.name))
                return self.elementwise("Sub", 1, share)
            case "logistic":
                return dataclasses.replace(x, name=self.graph.node("Sigmoid", x.name))
            case "reshape":
                return self.reshape(x, shape)
            case "transpose":
                dims = tuple(x.dims[i] for i in eqn.params["permutation"])
                return dataclasses.replace(x, dims=dims)
            case "squeeze":
                removed = eqn.params["dimensions"]
                dims = tuple(d for i, d in enumerate(x.dims) if i not in removed)
                return dataclasses.replace(x, dims=dims)
            case "broadcast_in_dim" if not isinstance(x, Value):
                return x
            case "broadcast_in_dim":
                places = dict(
                    zip(eqn.params["broadcast_dimensions"], x.dims, strict=True)
                )
                dims = tuple(places.get(i, ()) for i in range(len(shape)))
                return dataclasses.replace(x, dims=dims)
            case "concatenate":
                return self.concatenate(operands, eqn.params["dimension"])
            case "reduce_sum":
                return self.sum(x, eqn.params["axes"])
            case "reduce_window_sum":
                return self.sum_windows(x, **eqn.params)
        raise NotImplementedError(f"no translation of the operation {name}")

    def activation(self, name: str, x: Value) -> Value:
        kind, numbers, attributes = ACTIVATIONS[name]
        constants = map(self.graph.number, numbers)
        node = self.graph.node(kind, x.name, *constants, **attributes)
        return dataclasses.replace(x, name=node)

    def elementwise(self, kind: str, *operands: Any) -> Value:
        """An operation on values and numbers, one value at least."""
        values = [x for x in operands if isinstance(x, Value)]
        names = [
            x.name if isinstance(x, Value) else self.graph.number(x) for x in operands
        ]
        return Value(
            self.graph.node(kind, *names),
            tuple(map(first_full, zip(*(x.axes for x in values), strict=True))),
            tuple(map(first_full, zip(*(x.dims for x in values), strict=True))),
        )

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """Other dimensions of the same axes, some of which may have to be split."""
        left = [axis for dim in x.dims for axis in dim]
        dims, parts = [], {}
        for size in shape:
            dim: list[Axis] = []
            while (product := size_of(dim)) < size:
                axis = left.pop(0)
                if product * axis.size > size:
                    outer = Axis(size // product)
                    parts[axis] = outer, Axis(axis.size // outer.size)
                    axis, rest = parts[axis]
                    left.insert(0, rest)
                dim.append(axis)
            dims.append(tuple(dim))
        axes = tuple(
            tuple(part for axis in group for part in parts.get(axis, (axis,)))
            for group in x.axes
        )
        return self.in_order(Value(x.name, axes, tuple(dims)))

    def in_order(self, x: Value) -> Value:
        """Moves channels in memory where a dimension has their parts in another order:
        the interleave."""
        channels = x.axes[1]
        order = next((dim for dim in x.dims if set(dim) == set(channels)), channels)
        if order == channels:
            return x
        numbers = np.arange(size_of(channels))
        numbers = numbers.reshape([axis.size for axis in channels])
        numbers = numbers.transpose([channels.index(axis) for axis in order]).ravel()
        order_of = self.graph.constant(numbers.astype(np.int32))
        name = self.graph.node("Gather", x.name, order_of, axis=1)
        return Value(name, (x.axes[0], order, *x.axes[2:]), x.dims)

    def concatenate(self, values: Sequence[Value], dimension: int) -> Value:
        first = values[0]
        place = first.axes.index(first.dims[dimension])
        name = self.graph.node("Concat", *(x.name for x in values), axis=place)
        size = sum(size_of(x.axes[place]) for x in values)
        return replace_axis(first, place, Axis(size), name)

    def sum(self, x: Value, dimensions: Sequence[int]) -> Value:
        """The sum over some dimensions, whose axes stay, with size 1."""
        summed = {axis for i in dimensions for axis in x.dims[i]}
        places = [i for i, axes in enumerate(x.axes) if axes and set(axes) <= summed]
        name = x.name
        if places:  # else of single pixels; without axes ONNX would sum over all
            axes = self.graph.constant(np.int64(places))
            name = self.graph.node("ReduceSum", name, axes, keepdims=1)
        return Value(
            name,
            tuple(() if i in places else axes for i, axes in enumerate(x.axes)),
            tuple(dim for i, dim in enumerate(x.dims) if i not in dimensions),
        )

    def sum_windows(
        self,
        x: Value,
        window_dimensions: Sequence[int],
        window_strides: Sequence[int],
        **_: Any,
    ) -> Value:
        """The sums of windows of height and width."""
        windows = dict(zip(x.dims, window_dimensions, strict=True))
        strides = dict(zip(x.dims, window_strides, strict=True))
        height, width = x.axes[2:]
        shape = [windows[height], windows[width]]
        name = self.graph.node(
            "AveragePool",
            x.name,
            kernel_shape=shape,
            strides=[strides[height], strides[width]],
        )
        count = self.graph.number(math.prod(shape))
        for place in (2, 3):
            axis = Axis(size_of(x.axes[place]) // strides[x.axes[place]])
            x = replace_axis(x, place, axis, x.name)
        return dataclasses.replace(x, name=self.graph.node("Mul", name, count))

    def layer(
        self, number: int, x: Value, shape: Sequence[int], only: bool, linear: bool
    ) -> Value:
        """A module's result, of this shape.

        Args:
          number: of the layer.
          x: its input.
          shape: of its result.
          only: whether nothing else reads the input.
          linear: whether to leave out the bias.
        """
        layer = self.layers[number]
        channel = x.dims.index(x.axes[1])  # the dimension of the channels
        if isinstance(layer.module, BatchNorm):
            if linear:
                raise NotImplementedError("no translation of a batch norm's derivative")
            return dataclasses.replace(x, name=self.norm(layer, x.name, only))
        name = self.convolve(number, x, shape[channel], linear)
        y = replace_axis(x, 1, Axis(shape[channel]), name)
        for place in (2, 3) if len(shape) == 4 else ():
            if shape[place] != size_of(x.axes[place]):
                y = replace_axis(y, place, Axis(shape[place]), name)
        return y

    def convolve(self, number: int, x: Value, features: int, linear: bool) -> str:
        """The convolutions of a layer; arguments as of `layer`."""
        layer, constant = self.layers[number], self.graph.constant
        parts = convolutions_of(layer, size_of(x.axes[1]))
        paths: list[str | None] = [None] * len(parts)
        if number not in self.kernels:
            self.kernels[number] = [constant(part.kernel) for part in parts]
            # So that people find a layer in the file.
            paths = [layer.path, *(f"{layer.path}/{i}" for i in range(1, len(parts)))]
        bias = np.zeros(features, np.float32)
        if "bias" in layer.variables["params"] and not linear:
            bias = layer.array("bias")
        names, folded = [], []
        for part, kernel, path in zip(parts, self.kernels[number], paths, strict=True):
            read = x.name
            if part.inputs is not None:
                read = self.graph.node("Gather", read, constant(part.inputs), axis=1)
            biases = [constant(bias[part.features])] if part.has_bias else []
            name = self.graph.node(
                "Conv", read, kernel, *biases, result=path, **part.attributes
            )
            names.append(name)
            folded.append((part.features, kernel, *biases))
        if len(names) > 1 and layer.is_uneven:
            name = self.graph.node("Concat", *names, axis=1)
        elif len(names) > 1:
            name = self.graph.node("Add", *names)
        self.convolutions[name] = folded
        return name

    def norm(self, layer: Layer, name: str, only: bool) -> str:
        """Batch normalisation, as part of the convolution before it where there is
        one that nothing else reads."""
        mean, var = (layer.array(n, "batch_stats") for n in ("mean", "var"))
        factor = layer.array("scale") / np.sqrt(var + layer.module.epsilon)
        offset = layer.array("bias") - factor * mean
        if only and name in self.convolutions:
            constants = self.graph.constants
            for features, kernel, *biases in self.convolutions[name]:
                factors = factor[features]
                constants[kernel] = constants[kernel] * factors[:, None, None, None]
                for bias in biases:
                    constants[bias] = constants[bias] * factors + offset[features]
            return name
        columns = (array[:, None, None] for array in (factor, offset))
        factor, offset = map(self.graph.constant, columns)
        return self.graph.node("Add", self.graph.node("Mul", name, factor), offset)
