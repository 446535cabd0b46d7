"""What XLA:CPU must not merge with the computations around it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def unfused(function: Callable[..., Any], *operands: Any) -> Any:
    """function(*operands), which XLA:CPU does not mix with what is around it.

    It neither computes it inside of the loops of what follows nor takes its values from
    equal computations before. XLA:CPU ignores an optimization barrier but keeps out of
    a branch; this one is always taken, which it cannot know.

    Args:
      function: of pytrees of arrays.
      *operands: the last one has a floating-point array first.
    """
    results = jax.eval_shape(function, *operands)

    def never(*_: Any) -> Any:
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), results)

    def in_a_branch(*operands: Any) -> Any:
        impossible = jax.tree.leaves(operands[-1])[0].ravel()[0] * 0 == 1
        return jax.lax.cond(impossible, never, function, *operands)

    return jax.lax.platform_dependent(*operands, cpu=in_a_branch, default=function)
