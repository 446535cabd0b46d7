"""A pointwise (1x1) convolution in groups of channels, by one of three schemes.

With Cin inputs and F filters it has Cin * F weights. Here K and L are grouped
convolutions with at least Ch input channels in a group, n is a norm and an activation.

divisible: the paper's, Schuler et al., Mendel 28(1), 2022, Section 3. The number of
groups N divides Cin and F; K has Cin * F / N weights and L F * F / N.

    Cin >= F   x -- K -- n --+------------------------ + -- y
                             +-- interleave -- L -- n -+

    Cin < F    x -- K -- n ----- interleave --------------- y

any: without divisibility, Schuler et al., Entropy 24(9), 2022. As many groups as there
can be, of which the first have a filter more than the others where F asks for it, and
the last take some of the first channels too where Cin does.

    Cin >= F   x -- K -- n --+------------------------ + -- y
                             +-- interleave -- L -- n -+

    Cin < F    x -- K -- n -------------------------------- y

parallel: the authors' language models, 2025. N as in divisible; K and L have Cin * F
/ N weights each, and only one map is written.

               x --+-- K -------------- + -- n ------------ y
                   +-- interleave -- L -+
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from gpwjax.checks import check_positive
from gpwjax.ops.activations import add
from gpwjax.ops.batch_norm import BatchNorm
from gpwjax.ops.interleave import early, interleave, late
from gpwjax.ops.parallel import parallel_product
from gpwjax.ops.product import add_bias, product
from gpwjax.ops.uneven import uneven_product
from gpwjax.schemes import PAPERS, check_scheme

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


def uneven_groups(
    in_features: int, features: int, min_channels: int
) -> tuple[int, int]:
    """Number of groups of a convolution in the scheme `any`, and of inputs of each.

    Arguments and errors as of `num_groups`. All groups together may have more inputs
    than there are, never less; one group has them all (Entropy 24(9), 2022).
    """
    in_features = check_positive("in_features", in_features)
    features = check_positive("features", features)
    min_channels = check_positive("min_channels", min_channels)
    groups = min(-(-in_features // min_channels), features)
    if groups == 1:
        return 1, in_features
    return groups, max(min_channels, -(-in_features // groups))


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
        nothing has to be transposed for the product (and there is no forward mode).

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
        check_positive("groups", self.groups)
        features = check_positive("features", self.features)
        in_features = x.shape[self.axis]
        kernel = self.param("kernel", self.draw, in_features, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (features,), self.param_dtype)
        x = promote_dtype(x, kernel, dtype=self.dtype)[0]
        x = jnp.moveaxis(x, self.axis, 0)
        shape = x.shape
        if self.axis % x.ndim:
            # Vectors, whose product has forward mode too.
            x = x.reshape(in_features, math.prod(shape[1:]))
        y = self.multiply(x, kernel, before, after)
        if bias is not None:
            y = add_bias(y, early(bias, after).astype(y.dtype))
        return jnp.moveaxis(y.reshape(features, *shape[1:]), 0, self.axis)

    def draw(self, key: jax.Array, in_features: int, dtype: Any) -> jax.Array:
        """The kernel."""
        groups, features = self.groups, self.features
        if in_features % groups or features % groups:
            raise ValueError(
                f"groups must divide the {in_features} input channels and the "
                f"{features} features, got {groups}"
            )
        shape = (groups, in_features // groups, features // groups)
        return self.kernel_init(key, shape, dtype)

    def multiply(
        self, x: jax.Array, kernel: jax.Array, before: int, after: int
    ) -> jax.Array:
        """(in, ...) -> (features, ...)."""
        return product(x, kernel, before=before, after=after)


class UnevenPointwise(GroupedPointwise, kw_only=True):
    """A `GroupedPointwise` whose groups need not divide anything (Entropy 24(9), 2022).

    Group g reads the channels [g * inputs, (g + 1) * inputs), which after the last one
    go on with the first, and writes features // groups features. The first features %
    groups groups write one more; these features come last. (The paper's code has two
    convolutions with a norm each, which for batch normalisation is the same.)

    The kernel has shape (inputs, features).

    Attributes:
      inputs: number of input channels of a group.
    """

    inputs: int

    def draw(self, key: jax.Array, in_features: int, dtype: Any) -> jax.Array:
        """The kernel, of the paper's two paths."""
        each, more = divmod(self.features, self.groups)
        shapes = (self.groups, self.inputs, each), (more, self.inputs, 1)
        paths = [
            self.kernel_init(k, shape, dtype).swapaxes(0, 1).reshape(self.inputs, -1)
            for k, shape in zip(jax.random.split(key), shapes, strict=True)
            if shape[0]
        ]
        return jnp.concatenate(paths, axis=1)

    def multiply(
        self, x: jax.Array, kernel: jax.Array, before: int, after: int
    ) -> jax.Array:
        return uneven_product(x, kernel, groups=self.groups, before=before)


class ParallelPointwise(GroupedPointwise):
    """The sum of two `GroupedPointwise`, the second of the interleaved channels.

    The kernels are one array (2, groups, in / groups, features / groups).
    """

    def draw(self, key: jax.Array, in_features: int, dtype: Any) -> jax.Array:
        kernels = (
            super(ParallelPointwise, self).draw(k, in_features, dtype)
            for k in jax.random.split(key)
        )
        return jnp.stack([*kernels])

    def multiply(
        self, x: jax.Array, kernel: jax.Array, before: int, after: int
    ) -> jax.Array:
        return parallel_product(x, kernel)


class Pointwise(nn.Module):
    """A pointwise convolution, dense or grouped by a scheme (see the module).

    (..., in) -> (..., features), or on another axis. With one group (always so for
    `min_channels=None`) it is a 1x1 convolution, norm and activation.

    Attributes:
      features: number of output channels, F.
      min_channels: least number of input channels of a group, Ch; None: dense.
      norm: makes a normalisation layer; called without arguments, once for each of the
        scheme's, for example `partial(nn.BatchNorm, use_running_average=not train)`.
      activation: applied after each norm; None: the identity.
      use_bias: whether K and L have a bias, or in `parallel` their sum.
      dtype: dtype of the computation (default: inferred from input and parameters).
      param_dtype: dtype of the parameters.
      kernel_init: initialiser of all kernels (default: the paper's Glorot uniform).
      bias_init: initialiser of the biases.
      axis: that of the channels, for which `norm` must be made too; see
        `GroupedPointwise`.
      scheme: "divisible", "any" or "parallel".

    Raises:
      ValueError: `min_channels` or `features` is not an integer of at least 1, or there
        is no such scheme.
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
    scheme: str = PAPERS

    def __post_init__(self) -> None:
        check_scheme(self.scheme)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.min_channels is None:
            return self.convolve(DENSE, x, "K")
        return {
            "divisible": self.divisible,
            "any": self.without_divisibility,
            "parallel": self.parallel,
        }[self.scheme](x, x.shape[self.axis], self.features, self.min_channels)

    def divisible(self, x: jax.Array, cin: int, f: int, ch: int) -> jax.Array:
        groups = num_groups(cin, f, ch)
        if groups == 1:
            return self.convolve(DENSE, x, "K")
        grouped = partial(GroupedPointwise, groups=groups)
        step = f // groups  # of the interleave
        if cin < f:
            return self.convolve(grouped, x, "K", after=step)
        k = self.convolve(grouped, x, "K")
        return add(self.convolve(grouped, k, "L", before=step), k)

    def without_divisibility(
        self, x: jax.Array, cin: int, f: int, ch: int
    ) -> jax.Array:
        grouped = uneven_convolution(cin, f, ch)
        if grouped is DENSE or not (cin > 2 * ch or f > cin > ch):
            return self.convolve(DENSE, x, "K")
        k = self.convolve(grouped, x, "K")
        if cin < f:
            return k
        step = max(1, f // ch)  # of the interleave
        grouped = uneven_convolution(f, f, ch)
        return add(self.convolve(grouped, k, "L", before=step), k)

    def parallel(self, x: jax.Array, cin: int, f: int, ch: int) -> jax.Array:
        groups = num_groups(cin, f, ch)
        if groups == 1:
            return self.convolve(DENSE, x, "K")
        return self.convolve(partial(ParallelPointwise, groups=groups), x, "K")

    def convolve(
        self,
        convolution: Callable[..., nn.Module],
        x: jax.Array,
        name: str,
        before: int = 1,
        after: int = 1,
    ) -> jax.Array:
        """Interleave, convolution, norm, activation, interleave."""
        convolve = convolution(
            features=self.features,
            use_bias=self.use_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            axis=self.axis,
            name=name,
        )
        norm = None if self.norm is None else self.norm()
        activation = self.activation or (lambda y: y)
        if not (norm is None or isinstance(norm, BatchNorm)):
            y = activation(norm(convolve(x, before)))
            return interleave(y, after, self.axis)
        # What is before the last interleave may have its order already.
        y = convolve(x, before, after)
        y = activation(y if norm is None else norm(y, after))
        return late(y, after, self.axis)


DENSE = partial(GroupedPointwise, groups=1)


def uneven_convolution(cin: int, f: int, ch: int) -> Callable[..., nn.Module]:
    """What makes a convolution of the scheme `any`, of cin channels."""
    groups, inputs = uneven_groups(cin, f, ch)
    if groups == 1:
        return DENSE
    return partial(UnevenPointwise, groups=groups, inputs=inputs)
