"""A net's program as JAX traces it, in which each of its layers is one operation."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from gpwjax.export.onnx_layers import Layer
from gpwjax.ops.batch_norm import BatchNorm
from gpwjax.ops.convolution import Conv
from gpwjax.ops.depthwise import Depthwise
from gpwjax.ops.interleave import interleave
from gpwjax.ops.platforms import form
from gpwjax.pointwise import GroupedPointwise

layer_p = Primitive("layer")  # stands for a module in the traced program


@layer_p.def_abstract_eval
def _(
    x: ShapedArray, *, number: int, shape: tuple[int, ...], linear: bool
) -> ShapedArray:
    return ShapedArray(shape, x.dtype)


def derivative(primals: Sequence, tangents: Sequence, **params: Any) -> tuple:
    """A layer is linear but for its bias."""
    return layer_p.bind(*primals, **params), layer_p.bind(
        *tangents, **params | {"linear": True}
    )


def batched(args: Sequence, dims: Sequence[int], *, shape: Any, **params: Any) -> tuple:
    """A layer takes any number of dimensions beside that of the channels."""
    (x,), (place,) = args, dims
    shape = (*shape[:place], x.shape[place], *shape[place:])
    return layer_p.bind(x, shape=shape, **params), place


ad.primitive_jvps[layer_p] = derivative
batching.primitive_batchers[layer_p] = batched


def trace(net: Callable, size: int) -> tuple[Any, list[Layer]]:
    """The program of a net in which each layer is one operation, and the layers.

    Args:
      net: a function of images (N, size, size, 3).
      size: their height and width.
    """
    layers: list[Layer] = []

    def record(call: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        # A layer alone, without a path, is that whose shape is asked for below.
        if context.method_name != "__call__" or not is_layer(module) or not module.path:
            return call(*args, **kwargs)
        # The steps of interleaves may follow. That before is in no layer here but in an
        # uneven one.
        x, before, *_ = *args, 1
        path = "/".join(module.path)
        layer = Layer(module.clone(parent=None), module.variables, before, path)
        layers.append(layer)
        if isinstance(module, GroupedPointwise) and not layer.is_uneven:
            x = interleave(x, before, module.axis)
        y = jax.eval_shape(partial(layer.module.apply, layer.variables), x)
        number = len(layers) - 1
        return layer_p.bind(x, number=number, shape=y.shape, linear=False)

    images = jax.ShapeDtypeStruct((2, size, size, 3), np.float32)
    # In the plain forms, in which the last interleave is one of maps.
    with form("default"), nn.intercept_methods(record):
        traced = jax.make_jaxpr(net)(images)
    return traced, layers


def is_layer(module: nn.Module) -> bool:
    """Whether a module is one operation of the traced program."""
    return isinstance(
        module, Conv | Depthwise | GroupedPointwise | BatchNorm | nn.Dense
    )
