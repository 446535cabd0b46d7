"""The paper's replacement of a pointwise (1x1) convolution: K, interleave, L, sum.

Schuler et al., Mendel 28(1), 2022, Section 3. A pointwise convolution of Cin inputs
and F filters has Cin * F weights. With N groups, K has Cin * F / N and L F * F / N.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

# Glorot uniform over the axes of a grouped kernel (groups, in / groups, features /
# groups). The paper's code stores it as (1, 1, in / groups, features), so its fan out
# is all the features, not those of one group.
glorot_uniform = nn.initializers.variance_scaling(
    1.0, "fan_avg", "uniform", in_axis=1, out_axis=(0, 2)
)


def check_positive(name: str, value: int) -> int:
    """Returns `value` as an int, or raises ValueError if it is not an integer >= 1."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    return number


def num_groups(in_features: int, features: int, min_channels: int) -> int:
    """Number of groups of the convolutions that replace a pointwise one.

    The largest common divisor of `in_features` and `features` that leaves each group
    at least `min_channels` input channels, and 1 where there is none (paper, Section
    3). 1 means that the layer stays an ordinary pointwise convolution.

    Args:
      in_features: number of input channels, Cin.
      features: number of filters, F.
      min_channels: least number of input channels of a group, Ch.

    Raises:
      ValueError: an argument is not an integer of at least 1.
    """
    in_features = check_positive("in_features", in_features)
    features = check_positive("features", features)
    min_channels = check_positive("min_channels", min_channels)
    common = math.gcd(in_features, features)
    most = max(1, in_features // min_channels)
    return next(n for n in range(min(most, common), 0, -1) if common % n == 0)


def by_row(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The elementwise function of arrays of one shape, computed as that of matrices.

    (C, N, H, W) arrays become (C, N * H * W) for it: XLA:CPU vectorises along the last
    axis alone, which for images may have 7 elements.
    """

    def apply(*arrays: jax.Array) -> jax.Array:
        first, *others = arrays[0].shape
        y = function(*(x.reshape(first, math.prod(others)) for x in arrays))
        return y.reshape(arrays[0].shape)

    return apply


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
    # A transpose, not a gather: the gradient of a gather is a slow scatter.
    matrix = x.reshape(*before, channels // step, step, math.prod(after))
    return matrix.swapaxes(-3, -2).reshape(x.shape)


class GroupedPointwise(nn.Module):
    """A grouped 1x1 convolution: (..., in) -> (..., features), or on another axis.

    Group g reads input channels [g * in / groups, (g + 1) * in / groups) and writes
    output channels [g * features / groups, (g + 1) * features / groups).

    The kernel has shape (groups, in / groups, features / groups).

    Attributes:
      features: number of output channels.
      groups: number of groups, a divisor of the input channels and of `features`.
      use_bias: whether to add a bias of shape (features,).
      dtype: dtype of the computation (default: inferred from input and parameters).
      param_dtype: dtype of the parameters.
      kernel_init: initialiser of the kernel (default: the paper's Glorot uniform).
      bias_init: initialiser of the bias.
      axis: that of the channels. With 0, (in, ...) -> (features, ...), nothing has to
        be transposed for the product: the quickest on a CPU.

    Raises:
      ValueError: `groups` does not divide the input channels or `features`.
    """

    features: int
    groups: int
    use_bias: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = glorot_uniform
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    axis: int = -1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        groups = check_positive("groups", self.groups)
        features = check_positive("features", self.features)
        in_features = x.shape[self.axis]
        if in_features % groups or features % groups:
            raise ValueError(
                f"groups must divide the {in_features} input channels and the "
                f"{features} features, got {groups}"
            )
        shape = (groups, in_features // groups, features // groups)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (features,), self.param_dtype)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        x = jnp.moveaxis(x, self.axis, 0)
        pixels = x.shape[1:]
        m = math.prod(pixels)
        grouped = x.reshape(groups, in_features // groups, m)
        y = jnp.einsum("gim,gio->gom", grouped, kernel).reshape(features, m)
        if bias is not None:
            y += bias[:, None]
        return jnp.moveaxis(y.reshape(features, *pixels), 0, self.axis)


class Pointwise(nn.Module):
    """A pointwise convolution, dense or as the paper's K, interleave, L, sum.

    (..., in) -> (..., features), or on another axis. With one group (always so for
    `min_channels=None`) it is a 1x1 convolution, norm and activation. With more it is
    (paper, Section 3)

      K = activation(norm(grouped 1x1 convolution of x))
      L = activation(norm(grouped 1x1 convolution of interleaved K))
      result: L + K where in >= features, else interleaved K

    Attributes:
      features: number of output channels, F.
      min_channels: least number of input channels of a group, Ch; None: dense.
      norm: makes a normalisation layer; called without arguments, once for K and once
        for L, for example `partial(nn.BatchNorm, use_running_average=not train)`.
      activation: applied in K and in L; None: the identity.
      use_bias: whether K and L have a bias.
      dtype: dtype of the computation (default: inferred from input and parameters).
      param_dtype: dtype of the parameters.
      kernel_init: initialiser of both kernels (default: the paper's Glorot uniform).
      bias_init: initialiser of both biases.
      axis: that of the channels, for which `norm` must be made too; see
        `GroupedPointwise`.

    Raises:
      ValueError: `min_channels` or `features` is not an integer of at least 1.
    """

    features: int
    min_channels: int | None = None
    norm: Callable[[], nn.Module] | None = None
    activation: Callable[[jax.Array], jax.Array] | None = None
    use_bias: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = glorot_uniform
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    axis: int = -1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        in_features = x.shape[self.axis]
        groups = 1
        if self.min_channels is not None:
            groups = num_groups(in_features, self.features, self.min_channels)

        def convolve(x: jax.Array, name: str) -> jax.Array:
            x = GroupedPointwise(
                self.features,
                groups,
                use_bias=self.use_bias,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                kernel_init=self.kernel_init,
                bias_init=self.bias_init,
                axis=self.axis,
                name=name,
            )(x)
            if self.norm is not None:
                x = self.norm()(x)
            return x if self.activation is None else self.activation(x)

        k = convolve(x, "K")
        if groups == 1:
            return k
        mixed = interleave(k, self.features // groups, self.axis)
        if in_features < self.features:
            return mixed
        return by_row(jnp.add)(convolve(mixed, "L"), k)
