"""A grouped pointwise convolution whose groups need not divide the channels."""

import math
from functools import partial

import jax
import jax.numpy as jnp

from gpwjax.ops.interleave import interleave
from gpwjax.ops.platforms import operation_of
from gpwjax.ops.product import multiply


def plain(
    x: jax.Array, kernel: jax.Array, *, groups: int, before: int = 1
) -> jax.Array:
    """(Cin, ...) -> (F, ...), as of `gpwjax.pointwise.UnevenPointwise`.

    Args:
      x: maps or vectors, their channels first.
      kernel: (inputs of a group, F), in float32 for a gradient of float32.
      groups: number of groups.
      before: step of an interleave of the input's channels; 1: none.
    """
    inputs, features = kernel.shape
    each, more = divmod(features, groups)
    kernels = kernel[:, : features - more].reshape(inputs, groups, each)
    if more:
        # A feature more for all groups, most of which have one: so x is read once.
        zeros = jnp.zeros((inputs, groups - more), kernel.dtype)
        last = jnp.concatenate([kernel[:, features - more :], zeros], axis=1)
        kernels = jnp.concatenate([kernels, last[:, :, None]], axis=2)
    x = inputs_of_groups(x, groups * inputs, before)
    x = x.reshape(groups, inputs, *x.shape[1:])
    y = multiply(kernels.transpose(1, 0, 2), x)
    all_have = y[:, :each].reshape(features - more, *y.shape[2:])
    return jnp.concatenate([all_have, y[:more, each]]) if more else all_have


def of_rows(x: jax.Array, kernel: jax.Array, **settings: int) -> jax.Array:
    """A batch of products of matrices."""
    rows = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    return plain(rows, kernel, **settings).reshape(-1, *x.shape[1:])


def of_all_groups(
    x: jax.Array, kernel: jax.Array, *, groups: int, before: int = 1
) -> jax.Array:
    """One product with the matrix of all groups; no map is moved or made longer."""
    inputs, features = kernel.shape
    each, more = divmod(features, groups)
    numbers = jnp.arange(groups)
    group_of_row = numbers.repeat(inputs)
    group_of_column = jnp.concatenate([numbers.repeat(each), numbers[:more]])
    rows = jnp.tile(kernel, (groups, 1))
    matrix = jnp.where(group_of_row[:, None] == group_of_column, rows, 0)
    prepare = partial(inputs_of_groups, count=groups * inputs, before=before)
    of_channels = jax.ShapeDtypeStruct((x.shape[0], features), matrix.dtype)
    (matrix,) = jax.linear_transpose(prepare, of_channels)(matrix)
    return multiply(matrix, x)


def inputs_of_groups(x: jax.Array, count: int, before: int) -> jax.Array:
    """The inputs of all groups, one after the other: the channels of (C, ...)
    interleaved, and after the last one the first again, so that they are `count`."""
    x = uneven_interleave(x, before)
    return x if count == x.shape[0] else jnp.concatenate([x, x[: count - x.shape[0]]])


def uneven_interleave(x: jax.Array, step: int) -> jax.Array:
    """Reorders the channels of (C, ...) to 0, step, 2 * step, ..., 1, step + 1, ...,
    where `step` need not divide them: the last runs are a channel shorter then."""
    length = -(-x.shape[0] // step)  # of a run
    short = length * step - x.shape[0]  # runs
    if not short:
        return interleave(x, step, axis=0)
    zeros = jnp.zeros((short, *x.shape[1:]), x.dtype)
    runs = interleave(jnp.concatenate([x, zeros]), step, axis=0)
    runs = runs.reshape(step, length, *x.shape[1:])
    whole, cut = runs[: step - short], runs[step - short :, :-1]
    return jnp.concatenate([r.reshape(-1, *x.shape[1:]) for r in (whole, cut)])


uneven_product = operation_of({"default": plain, "cpu": of_rows, "tpu": of_all_groups})
