"""The interleave of channels."""

import math
import operator

import jax

from gpwjax.checks import check_positive
from gpwjax.ops.platforms import operation_of


def interleave(x: jax.Array, step: int, axis: int = -1) -> jax.Array:
    """Reorders an axis of `x` to 0, step, 2 * step, ..., 1, step + 1, ...

    With `step` = channels per group, neighbours in the result come from different
    groups. It is the transpose of the (channels / step, step) matrix of channels, a
    static permutation, undone by `interleave(..., channels // step)`.

    Args:
      x: an array with an axis of channels.
      step: distance of neighbours, a divisor of the number of channels.
      axis: that of the channels.

    Raises:
      ValueError: `step` is not an integer >= 1 that divides the number of channels.
    """
    step = check_positive("step", step)
    axis = operator.index(axis) % x.ndim
    before, channels, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    if channels % step:
        raise ValueError(f"step must divide the {channels} channels, got {step}")
    if step in (1, channels):
        return x
    # A transpose, not a gather: the gradient of a gather is a slow scatter.
    matrix = x.reshape(*before, channels // step, step, math.prod(after))
    *others, groups, channel, last = range(matrix.ndim)
    order = *others, channel, groups, last
    return jax.lax.transpose(matrix, order).reshape(x.shape)


def early(values: jax.Array, step: int) -> jax.Array:
    """The interleave of a convolution's result, applied to its kernel and vectors (C,).

    A platform applies it either early or `late`, to the maps.
    """
    return values if step == 1 else interleaved_early(values, step=step)


def late(maps: jax.Array, step: int, axis: int) -> jax.Array:
    """The interleave of a convolution's result, unless it was `early`."""
    return maps if step == 1 else interleaved_late(maps, step=step, axis=axis)


def unchanged(x: jax.Array, **_: int) -> jax.Array:
    return x


interleaved_early = operation_of({"default": unchanged, "tpu": interleave})
interleaved_late = operation_of({"default": interleave, "tpu": unchanged})
