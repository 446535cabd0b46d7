"""Training in less memory: blocks are computed again for their gradients."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import lift
from flax.linen.transforms import lift_transform

from gpwjax.ops.platforms import unfused


def rematerialised(block: type[nn.Module]) -> type[nn.Module]:
    """A block with the same variables that saves its inputs alone for the gradient.

    As `nn.remat`, which saves nothing on a CPU: there XLA drops what should keep it
    from taking the values from the forward pass, and so keeps them all.
    """
    return lift_transform(lifted, block)


def lifted(block: Callable[..., Any]) -> Callable[..., Any]:
    """The transformation of a function of a Flax scope."""

    def inner(
        scope_of: Callable, repack: Callable, variables: Any, rngs: Any, *args: Any
    ) -> Any:
        def pure(variables: Any, rngs: Any, args: tuple) -> tuple[Any, Any]:
            scope = scope_of(variables, rngs)
            return block(scope, *args), repack(scope)

        return saving_inputs(pure, variables, rngs, args)

    return lift.pack(inner, (True,), (True,), (True,), name="remat")


def saving_inputs(function: Callable[..., Any], *inputs: Any) -> Any:
    """function(*inputs), whose gradient computes it again."""
    leaves, tree = jax.tree.flatten(inputs)
    real = [jnp.issubdtype(x.dtype, jnp.floating) for x in leaves]
    variable = [x for x, is_real in zip(leaves, real, strict=True) if is_real]
    constant = [x for x, is_real in zip(leaves, real, strict=True) if not is_real]

    def value(constant: list, variable: list) -> Any:
        both = {True: iter(variable), False: iter(constant)}
        return function(*tree.unflatten([next(both[is_real]) for is_real in real]))

    def gradient(constant: list, variable: list, dy: Any) -> list:
        constant, variable = jax.lax.optimization_barrier((constant, variable))
        _, pull_back = jax.vjp(partial(value, constant), variable)
        return pull_back(dy)[0]

    run = jax.custom_vjp(value)
    run.defvjp(
        lambda *inputs: (value(*inputs), inputs),
        lambda inputs, dy: (None, unfused(gradient, *inputs, dy)),
    )
    return run(constant, variable)
