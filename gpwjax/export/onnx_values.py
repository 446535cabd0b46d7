"""Which axes of an ONNX tensor the dimensions of an array of JAX are.

JAX's arrays of images are (C, N, H, W), or rows (C, N * H * W); ONNX wants
(N, C, H, W). What only reshapes and transposes between these is no node: a `Value`
knows which axes of its ONNX tensor each of its dimensions is made of.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(eq=False)
class Axis:
    """An axis, or a part of one; equal only to itself."""

    size: int


Axes = Sequence[Axis]  # the first one outermost


@dataclasses.dataclass(frozen=True)
class Value:
    """An array of the traced program.

    Attributes:
      name: of the ONNX tensor that holds it.
      axes: of the tensor, (N, C, H, W); an empty one has size 1.
      dims: of JAX's array; an empty one is the same everywhere along it.
    """

    name: str
    axes: tuple[Axes, ...]
    dims: tuple[Axes, ...]


def first_full(of: Iterable[Axes]) -> Axes:
    """The first that is not empty, if there is one."""
    return next(filter(None, of), ())


def size_of(axes: Axes) -> int:
    return math.prod(axis.size for axis in axes)


def replace_axis(x: Value, place: int, axis: Axis, name: str) -> Value:
    """Another axis of a tensor in the place of one, and of the dimension of that."""
    old, new = x.axes[place], (axis,)
    axes = (*x.axes[:place], new, *x.axes[place + 1 :])
    return Value(name, axes, tuple(new if dim == old else dim for dim in x.dims))
