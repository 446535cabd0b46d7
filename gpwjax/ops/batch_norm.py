"""Batch normalisation."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpwjax.ops.arrays import sums, sums_in_one_pass, widened
from gpwjax.ops.interleave import early
from gpwjax.ops.platforms import by_row, operation_of


class BatchNorm(nn.Module):
    """Batch normalisation of (C, N, H, W), with the variables of `nn.BatchNorm`.

    Ioffe and Szegedy, arXiv 1502.03167. The running variance is the biased one, as in
    Flax; Keras' is not. Statistics are float32.

    Attributes:
      use_running_average: whether to use the running statistics, not the batch's.
      momentum: decay of the running statistics.
      epsilon: added to the variance.
      dtype: of the result (default: inferred from input and parameters).
    """

    use_running_average: bool
    momentum: float = 0.99
    epsilon: float = 1e-3
    dtype: Any = None

    axis: ClassVar[int] = 0  # of the channels

    @nn.compact
    def __call__(self, x: jax.Array, step: int = 1) -> jax.Array:
        """The normalised maps.

        Args:
          x: (C, ...).
          step: of an interleave of x's channels that is `early`; the variables have
            the order before it. 1: none.
        """
        shape = x.shape[:1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        factors = early(scale, step), early(bias, step)
        if self.use_running_average:
            moments = early(mean.value, step), early(var.value, step)
            y = normalised(x, *moments, *factors, epsilon=self.epsilon)
        else:
            y, *moments = batch_normalised(x, *factors, self.epsilon)
            if not self.is_initializing():
                for running, moment in zip((mean, var), moments, strict=True):
                    moment = early(moment, x.shape[0] // step)
                    kept, new = self.momentum * running.value, 1 - self.momentum
                    running.value = kept + new * jax.lax.stop_gradient(moment)
        return y.astype(self.dtype or jnp.result_type(x, scale))


def with_moments(
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    *,
    epsilon: float,
) -> jax.Array:
    """(C, ...) with these means and variances, normalised, scaled and shifted."""
    factor = jax.lax.rsqrt(var + epsilon) * scale
    return x * along(factor, x) + along(bias - factor * mean, x)


normalised = operation_of(by_row(with_moments))


def with_moments_of_batch(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    *,
    epsilon: float,
    sums: Callable[..., list[jax.Array]] = sums,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """As `normalised` with the means and variances of x, and these."""
    wide, m = widened(x), x.size // x.shape[0]
    total, total_of_squares = sums([wide, wide * wide])
    mean = total / m
    var = jnp.maximum(total_of_squares / m - mean**2, 0)
    return with_moments(x, mean, var, scale, bias, epsilon=epsilon), mean, var


# XLA:GPU reads the maps once for each sum that is by itself.
normalised_by_batch = operation_of(
    by_row(
        with_moments_of_batch,
        cuda=partial(with_moments_of_batch, sums=sums_in_one_pass),
    )
)


def plain_gradients(
    x: jax.Array,
    dy: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    *,
    epsilon: float,
    sums: Callable[..., list[jax.Array]] = sums,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of x, scale and bias, from dy, that of y. Only x and dy are read."""
    dy, m = widened(dy), x.size // x.shape[0]
    inverse = jax.lax.rsqrt(var + epsilon)
    # Not of dy * (x - mean), which XLA:CPU would write to memory.
    dbias, dproduct = sums([dy, dy * widened(x)])
    dscale = inverse * (dproduct - mean * dbias)
    factor = inverse * scale
    slope = factor * inverse * dscale / m
    offset = slope * mean - factor * dbias / m
    dx = dy * along(factor, x) - x * along(slope, x) + along(offset, x)
    return dx.astype(x.dtype), dscale, dbias


gradients = operation_of(
    by_row(plain_gradients, cuda=partial(plain_gradients, sums=sums_in_one_pass))
)


def along(values: jax.Array, x: jax.Array) -> jax.Array:
    """A value for each channel, (C,), with as many axes as x has."""
    return jnp.expand_dims(values, range(1, x.ndim))


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_normalised(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(C, ...) normalised, scaled and shifted, and its means and variances.

    These two are constants for a gradient.
    """
    return normalised_by_batch(x, scale, bias, epsilon=epsilon)


def forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[tuple, tuple]:
    y, mean, var = batch_normalised(x, scale, bias, epsilon)
    return (y, mean, var), (x, mean, var, scale)


def backward(
    epsilon: float, saved: tuple, cotangents: tuple
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, *others = saved
    return gradients(x, cotangents[0], *others, epsilon=epsilon)


batch_normalised.defvjp(forward, backward)
