"""The choice among the forms of an operation by the platform that computes it."""

import math
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp

# For tests and exports: with form("tpu"): all operations have the form of that platform
# ("default": the plain one), wherever they are computed. None: of their own platform.
form = jax.make_user_context(None)

Operation = Callable[..., Any]


def by_platform(*operands: Any, default: Operation, **forms: Operation) -> Any:
    """The result of an operation, in the form for the platform that computes it.

    Tracing all forms takes long: call it inside of a `jax.jit`, which does so once for
    each shape.

    Args:
      *operands: arrays.
      default: the form for all other platforms.
      **forms: those for cpu, tpu, cuda and rocm.
    """
    if form.value is not None:
        return forms.get(form.value, default)(*operands)
    return jax.lax.platform_dependent(*operands, default=default, **forms)


def operation_of(forms: dict[str, Operation]) -> Operation:
    """An operation that is computed in the form for the platform.

    Args:
      forms: as of `by_platform`; their keyword arguments are no arrays.
    """

    @partial(jax.jit, static_argnums=0)
    def run(settings: tuple, *operands: Any) -> Any:
        chosen = {p: partial(f, **dict(settings)) for p, f in forms.items()}
        return by_platform(*operands, **chosen)

    @wraps(forms["default"])
    def operation(*operands: Any, **settings: Any) -> Any:
        return run(tuple(settings.items()), *operands)

    return operation


def with_own_gradient(
    forms: dict[str, Operation], gradients: dict[str, Operation] | None = None
) -> Operation:
    """As `operation_of`, for maps; its gradient is an operation by itself.

    JAX would derive the choice's form by form, anew in each layer, which takes longer
    than all other tracing of a train step. Forward mode has no way through it, but for
    arrays of one or two axes.

    Args:
      forms: as of `by_platform`; their keyword arguments are no arrays.
      gradients: forms of the gradient: dy and the operands -> those of the operands;
        None: JAX's of each of the forms.
    """
    value = operation_of(forms)
    derived = {platform: partial(pulled_back, form) for platform, form in forms.items()}
    pull_back = operation_of(gradients or derived)

    def forward(settings: tuple, *operands: Any) -> tuple[Any, tuple]:
        return value(*operands, **dict(settings)), operands

    def backward(settings: tuple, operands: tuple, dy: Any) -> tuple:
        return pull_back(dy, *operands, **dict(settings))

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    def of_maps(settings: tuple, *operands: Any) -> Any:
        return value(*operands, **dict(settings))

    of_maps.defvjp(forward, backward)

    @wraps(forms["default"])
    def operation(*operands: Any, **settings: Any) -> Any:
        if operands[0].ndim > 2:
            return of_maps(tuple(settings.items()), *operands)
        return value(*operands, **settings)

    return operation


def pulled_back(form: Operation, dy: Any, *operands: Any, **settings: Any) -> tuple:
    """The gradients of the operands, as JAX derives them."""
    return jax.vjp(partial(form, **settings), *operands)[1](dy)


def by_row(operation: Operation, **forms: Operation) -> dict[str, Operation]:
    """The forms of an operation of arrays (C, ...), on a CPU that of rows (C, M).

    XLA:CPU vectorises along the last axis alone, which for images may have 7 elements.
    Arrays (C,) stay as they are; keyword arguments are no arrays.

    Args:
      operation: its plain form.
      **forms: those for other platforms, as of `by_platform`.
    """
    return {"default": operation, "cpu": collapsed(operation, kept=1), **forms}


def by_image(operation: Operation) -> dict[str, Operation]:
    """As `by_row`; arrays (C, N, H, W) become (C, N, H * W) on a CPU."""
    return {"default": operation, "cpu": collapsed(operation, kept=2)}


def collapsed(operation: Operation, kept: int) -> Operation:
    """An operation whose arrays have all axes after the first `kept` in one.

    Its results are (C, ...) like its first array, or (C,).
    """

    def collapse(x: jax.Array) -> jax.Array:
        if x.ndim <= kept:
            return x
        return x.reshape(*x.shape[:kept], math.prod(x.shape[kept:]))

    def run(*arrays: jax.Array, **settings: Any) -> Any:
        shape = arrays[0].shape
        y = operation(*map(collapse, arrays), **settings)
        return jax.tree.map(lambda y: y.reshape(shape) if y.ndim > kept else y, y)

    return run


def unfused(function: Operation, *operands: Any) -> Any:
    """function(*operands), which XLA:CPU does not mix with what is around it.

    It neither computes it inside of the loops of what follows nor takes its values from
    equal computations before.

    Args:
      function: of pytrees of arrays.
      *operands: the last one has a floating-point array first.
    """
    return by_platform(*operands, cpu=partial(in_a_branch, function), default=function)


def in_a_branch(function: Operation, *operands: Any) -> Any:
    """function(*operands) in a branch: XLA:CPU ignores an optimization barrier but
    keeps out of a branch. This one is always taken, which it cannot know."""
    results = jax.eval_shape(function, *operands)

    def never(*_: Any) -> Any:
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), results)

    # With their own shapes, or what only reshapes them would move into the branch.
    operands = jax.lax.optimization_barrier(operands)
    impossible = jax.lax.sign(jax.tree.leaves(operands[-1])[0].ravel()[0]) == 2
    return jax.lax.cond(impossible, never, function, *operands)
