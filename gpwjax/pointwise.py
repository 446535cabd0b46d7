"""The paper's replacement of a pointwise (1x1) convolution: K, interleave, L, sum.

Schuler et al., Mendel 28(1), 2022, Section 3. A pointwise convolution of Cin inputs
and F filters has Cin * F weights. With N groups, K has Cin * F / N and L F * F / N.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from gpwjax.checks import check_positive
from gpwjax.ops.activations import add
from gpwjax.ops.batch_norm import BatchNorm
from gpwjax.ops.interleave import early, interleave, late
from gpwjax.ops.product import add_bias, product

# Glorot uniform over the axes of a grouped kernel (groups, in / groups, features /
# groups). The paper's code stores it as (1, 1, in / groups, features), so its fan out
# is all the features, not those of one group.
glorot_uniform = nn.initializers.variance_scaling(
    1.0, "fan_avg", "uniform", in_axis=1, out_axis=(0, 2)
)


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
      axis: that of the channels. With 0, (in, ...) -> (features, ...), as in the nets,
        nothing has to be transposed for the product.

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
    def __call__(self, x: jax.Array, before: int = 1, after: int = 1) -> jax.Array:
        """The convolution.

        Args:
          x: (..., in).
          before: step of an interleave of the input's channels; 1: none.
          after: step of an interleave of the output's channels that may be `early`;
            1: none.
        """
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
        x = promote_dtype(x, kernel, dtype=self.dtype)[0]
        x = jnp.moveaxis(x, self.axis, 0)
        y = product(x, kernel, before=before, after=after)
        if bias is not None:
            y = add_bias(y, early(bias, after).astype(y.dtype))
        return jnp.moveaxis(y, 0, self.axis)


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
        axis, in_features = self.axis, x.shape[self.axis]
        groups = 1
        if self.min_channels is not None:
            groups = num_groups(in_features, self.features, self.min_channels)

        def convolve(
            x: jax.Array, name: str, before: int = 1, after: int = 1
        ) -> jax.Array:
            """Interleave, convolution, norm, activation, interleave."""
            convolution = GroupedPointwise(
                self.features,
                groups,
                use_bias=self.use_bias,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                kernel_init=self.kernel_init,
                bias_init=self.bias_init,
                axis=axis,
                name=name,
            )
            norm = None if self.norm is None else self.norm()
            activation = self.activation or (lambda y: y)
            if not (norm is None or isinstance(norm, BatchNorm)):
                return interleave(activation(norm(convolution(x, before))), after, axis)
            # What is before the last interleave may have its order already.
            y = convolution(x, before, after)
            y = activation(y if norm is None else norm(y, after))
            return late(y, after, axis)

        if groups == 1:
            return convolve(x, "K")
        step = self.features // groups  # of the interleave
        if in_features < self.features:
            return convolve(x, "K", after=step)
        k = convolve(x, "K")
        return add(convolve(k, "L", before=step), k)
