"""Exact parameters and multiply-accumulates of a net, layer by layer."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpwjax.ops.platforms import form


@dataclasses.dataclass(frozen=True)
class LayerCount:
    """One layer: a module that owns parameters or running statistics.

    Attributes:
      name: path of the module, "/" between its parts.
      kind: class of the module.
      input_shape, output_shape: without the batch axis.
      groups: number of groups of a convolution, 1 elsewhere.
      params: trainable parameters.
      params_total: with the running statistics of batch normalisation.
      macs: multiply-accumulates for one image; 0 for all but convolutions and dense
        layers.
    """

    name: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    groups: int
    params: int
    params_total: int
    macs: int


@dataclasses.dataclass(frozen=True)
class Counts:
    """A net's trainable parameters, all parameters, MACs of an image, and layers."""

    params: int
    params_total: int
    macs: int
    layers: tuple[LayerCount, ...]


def count(
    model: nn.Module, image_shape: tuple[int, int, int] = (224, 224, 3)
) -> Counts:
    """Counts the parameters and multiply-accumulates of `model` for one image.

    Only shapes are computed (`jax.eval_shape`), no number. A layer that the net applies
    twice is listed twice, each time with its MACs, and has its parameters counted once.

    Args:
      model: a Linen module that is called as `model(images, train=False)`.
      image_shape: (height, width, channels) of an image.
    """
    layers: dict[tuple[str, int], LayerCount] = {}

    def record(
        call: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        output = call(*args, **kwargs)
        module = context.module
        own = {
            collection: own_arrays(variables)
            for collection, variables in module.variables.items()
        }
        if context.method_name == "__call__" and any(own.values()):
            name = "/".join(module.path)
            use = sum(seen == name for seen, _ in layers)
            layers[name, use] = layer_count(name, module, own, args[0], output, use)
        return output

    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    # Of all forms of an operation one is traced, for their shapes are the same.
    with nn.intercept_methods(record), form("default"):
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    rows = tuple(layers.values())
    return Counts(
        params=sum(row.params for row in rows),
        params_total=sum(row.params_total for row in rows),
        macs=sum(row.macs for row in rows),
        layers=rows,
    )


def own_arrays(variables: Mapping) -> dict[str, Any]:
    """The arrays of a module itself, without its submodules'."""
    return {
        name: value
        for name, value in variables.items()
        if not isinstance(value, Mapping)
    }


def layer_count(
    name: str, module: nn.Module, own: dict, x: jax.Array, y: jax.Array, use: int
) -> LayerCount:
    """Counts of one call of a layer, its `use`-th (from 0).

    Every weight of a kernel, of a dense layer or of a convolution with any number of
    groups, is used once for each position of the output.
    """
    size = {kind: sum(a.size for a in arrays.values()) for kind, arrays in own.items()}
    first = use == 0
    kernel = own.get("params", {}).get("kernel")
    # That of the channels in the layers of our nets; others have it last.
    axis = 0 if getattr(module, "axis", -1) == 0 else -1
    input_shape, output_shape = (jnp.moveaxis(a, axis, -1).shape[1:] for a in (x, y))
    positions = math.prod(output_shape[:-1])
    return LayerCount(
        name=name,
        kind=type(module).__name__,
        input_shape=input_shape,
        output_shape=output_shape,
        groups=1 if kernel is None else num_groups(module, input_shape[-1], kernel),
        params=size.get("params", 0) * first,
        params_total=sum(size.values()) * first,
        macs=0 if kernel is None else kernel.size * positions,
    )


def num_groups(module: nn.Module, in_features: int, kernel: jax.Array) -> int:
    """Of a convolution."""
    if hasattr(module, "groups"):
        return module.groups
    # The last axis but one of a kernel is its inputs for one group.
    return in_features // kernel.shape[-2]
