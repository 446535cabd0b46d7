"""The layers of a net as convolutions of ONNX."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from gpwjax.ops.depthwise import Depthwise
from gpwjax.ops.interleave import interleave
from gpwjax.ops.uneven import inputs_of_groups
from gpwjax.pointwise import GroupedPointwise, ParallelPointwise, UnevenPointwise


@dataclasses.dataclass(frozen=True)
class Layer:
    """A module of the net and its own variables.

    Attributes:
      before: step of an interleave of the input's channels, which is part of an uneven
        layer and comes before others.
      path: of the module in the net, such as "block3/project/K".
    """

    module: nn.Module
    variables: Mapping
    before: int = 1
    path: str = ""

    @property
    def is_uneven(self) -> bool:
        return isinstance(self.module, UnevenPointwise)

    def array(self, name: str, collection: str = "params") -> np.ndarray:
        return np.asarray(self.variables[collection][name], np.float32)


class Convolution(NamedTuple):
    """A Conv node of a layer.

    Attributes:
      kernel: (features, inputs of a group, k, k).
      attributes: of the node.
      inputs: numbers of the channels that it reads; None: all as they are.
      features: which of the layer's features are its own.
      has_bias: whether the layer's bias is added here.
    """

    kernel: np.ndarray
    attributes: dict[str, Any]
    inputs: np.ndarray | None = None
    features: slice = slice(None)
    has_bias: bool = True


def convolutions_of(layer: Layer, channels: int) -> list[Convolution]:
    """The convolutions that together are a layer of so many input channels.

    Those of a `ParallelPointwise` are added, those of others follow each other.
    """
    module = layer.module
    match module:
        case nn.Dense():
            return [Convolution(layer.array("kernel").T[:, :, None, None], {})]
        case UnevenPointwise():
            return uneven_convolutions(layer, channels)
        case ParallelPointwise():
            first, second = layer.array("kernel")
            order = np.asarray(interleave(np.arange(channels), second.shape[1]))
            mixed = pointwise(second)._replace(inputs=order, has_bias=False)
            return [pointwise(first), mixed]
        case GroupedPointwise():
            return [pointwise(layer.array("kernel"))]
    kernel = layer.array("kernel").transpose(3, 2, 0, 1)
    (top, bottom), (left, right) = module.padding
    attributes = {
        "pads": [top, left, bottom, right],
        "strides": [module.stride, module.stride],
    }
    if isinstance(module, Depthwise):
        attributes["group"] = len(kernel)
    return [Convolution(kernel, attributes)]


def pointwise(kernel: np.ndarray) -> Convolution:
    """The convolution with a kernel (groups, inputs, features of a group)."""
    groups, inputs, _ = kernel.shape
    rows = kernel.transpose(0, 2, 1).reshape(-1, inputs, 1, 1)
    return Convolution(rows, {"group": groups})


def uneven_convolutions(layer: Layer, channels: int) -> list[Convolution]:
    """That of all groups, and that of the first groups' features that are more."""
    module, kernel = layer.module, layer.array("kernel")
    count = module.groups * module.inputs
    prepare = partial(inputs_of_groups, count=count, before=layer.before)
    numbers = np.asarray(jax.jit(prepare)(np.arange(channels)))
    more = module.features % module.groups
    found = []
    for groups, features in (
        (module.groups, slice(0, module.features - more)),
        (more, slice(module.features - more, module.features)),
    ):
        if groups:
            grouped = kernel[:, features].reshape(module.inputs, groups, -1)
            inputs = numbers[: groups * module.inputs]
            as_they_are = np.array_equal(inputs, np.arange(channels))
            found.append(
                pointwise(grouped.swapaxes(0, 1))._replace(
                    inputs=None if as_they_are else inputs, features=features
                )
            )
    return found
