"""The sum of two grouped pointwise convolutions, one of the interleaved channels."""

import math

import jax
import jax.numpy as jnp

from gpwjax.ops import product
from gpwjax.ops.interleave import interleave
from gpwjax.ops.platforms import operation_of

FEW = 4  # groups, for which one product of all is quicker on a CPU too


def plain(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """(Cin, ...) -> (F, ...).

    Args:
      x: maps or vectors, their channels first.
      kernels: (2, groups, Cin / groups, F / groups), of the channels as they are and
        interleaved with step Cin / groups; in float32 for a gradient of float32.
    """
    first, second = kernels
    return product.plain(x, first) + product.plain(x, second, before=second.shape[1])


def of_rows(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """A batch of products of matrices: a group has the inputs of both, and the result
    is written once."""
    _, groups, inputs, _ = kernels.shape
    rows = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    if groups <= FEW:
        y = of_all_groups(rows, kernels)
    else:
        both = (rows, interleave(rows, inputs, axis=0))
        grouped = [r.reshape(groups, inputs, -1) for r in both]
        y = product.multiply(
            jnp.concatenate([*kernels], axis=1), jnp.concatenate(grouped, axis=1)
        )
    return y.reshape(-1, *x.shape[1:])


def of_all_groups(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """One product with the sum of two block-diagonal matrices, one of them permuted: as
    quick as a dense layer where that is quicker than to read and write maps."""
    first, second = kernels
    permuted = product.block_diagonal(second, before=second.shape[1], after=1)
    return product.multiply(product.block_diagonal(first, 1, 1) + permuted, x)


parallel_product = operation_of(
    {"default": plain, "cpu": of_rows, "tpu": of_all_groups, "cuda": of_all_groups}
)
