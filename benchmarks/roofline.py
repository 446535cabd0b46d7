"""The time that a program would take if the device's peak rates were all that counts.

Williams, Waterman and Patterson: Roofline, Communications of the ACM 52(4), 2009.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Rates(NamedTuple):
    """What a device reaches, as measured."""

    flops: float  # a second, in matrix products
    bandwidth: float  # bytes a second, read and written in turns


def measure_rates(dtype: Any) -> Rates:
    """The rates of the default device, of arrays of a dtype."""
    n = 2048 if jax.default_backend() == "cpu" else 8192
    a = jnp.ones((n, n), dtype)
    b = jnp.ones(2**26, dtype)
    return Rates(
        flops=2 * n**3 / least_seconds(jax.jit(jnp.matmul), a, a),
        bandwidth=2 * b.nbytes / least_seconds(jax.jit(jnp.negative), b),
    )


def least_seconds(function: Callable[..., jax.Array], *args: jax.Array) -> float:
    seconds = []
    for _ in range(10):
        begun = time.perf_counter()
        function(*args).block_until_ready()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def least_time(compiled: jax.stages.Compiled, rates: Rates) -> float:
    """Seconds for the operations or for the memory traffic, whichever takes longer.

    Both as XLA counts them in the optimised program.
    """
    cost = compiled.cost_analysis()
    return max(cost["flops"] / rates.flops, cost["bytes accessed"] / rates.bandwidth)
