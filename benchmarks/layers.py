"""Forms of the layers side by side: the same results, in other orders of computation.

    python -m benchmarks.layers [--batch 8] [--dtype float32] [--repeats 15]

Measures, at shapes of MobileNet, the grouped pointwise step (K, interleave, L, sum,
with swish in K and L), the depthwise convolution and batch normalisation: the forward
pass, and it with the gradients of input and parameters, in turns in one process. All
forms of a layer take the same variables; that they agree is checked before. Writes
results/layers-DATE-DEVICE.json.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import gpwjax
from benchmarks import flax_nets
from benchmarks.record import add
from benchmarks.timing import Times, interleaved
from gpwjax.compilation import use_compilation_cache
from gpwjax.memory import keep_memory
from gpwjax.net import channels_first, channels_last
from gpwjax.ops.activations import swish
from gpwjax.ops.batch_norm import BatchNorm
from gpwjax.ops.depthwise import Depthwise

CHANNELS = 16  # of a group
SHAPES = ((128, 56), (512, 14), (1024, 7))  # channels; height and width
Apply = Callable[[dict, jax.Array], jax.Array]  # of params and x


class Form(NamedTuple):
    apply: Apply
    channels_axis: int  # of its images: 0 is (C, N, H, W), -1 is (N, H, W, C)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    for features, size in SHAPES:
        shape = (features, options.batch, size, size)
        x = np.random.default_rng(0).normal(size=shape)
        x = jnp.asarray(x, options.dtype)
        for layer, forms, params in layers(features):
            times = measure(forms, params, x, options.repeats)
            case = f"{layer}, {features} channels {size}x{size} {options.dtype}"
            print("\n".join(table(case, times)), flush=True)
            file = add("layers", f"{case} batch {options.batch}", times)
    print(f"written to {file}")


def layers(features: int) -> Iterator[tuple[str, dict[str, Form], dict]]:
    """Name, forms and parameters of each layer."""
    pointwise = partial(gpwjax.Pointwise, features, CHANNELS)
    forms = {
        "ours": module(pointwise(activation=swish, axis=0), 0),
        "einsum, channels last": module(pointwise(activation=nn.swish), -1),
        "interleave in L's kernel": Form(folded, 0),
        "block-diagonal, groups of 64": Form(partial(block_diagonal, 64), 0),
        "block-diagonal, groups of 128": Form(partial(block_diagonal, 128), 0),
        "feature_group_count": Form(grouped_convolution, -1),
    }
    yield "grouped pointwise", forms, params_of(pointwise(axis=0), features)

    ours = Depthwise(3, 1, ((1, 1), (1, 1)))
    by_xla = nn.Conv(features, (3, 3), feature_group_count=features, use_bias=False)
    forms = {
        "ours": module(ours, 0),
        "shifted products, their gradient JAX's": Form(shifted, 0),
        "feature_group_count": module(by_xla, -1),
    }
    yield "depthwise 3x3", forms, params_of(ours, features)

    ours = BatchNorm(use_running_average=False)
    flax = nn.BatchNorm(use_running_average=False, epsilon=ours.epsilon)
    forms = {
        "ours": module(ours, 0),
        "nn.BatchNorm, channels first": module(flax.clone(axis=0), 0),
        "nn.BatchNorm, channels last": module(flax, -1),
    }
    yield "batch normalisation", forms, params_of(ours, features)


def module(layer: nn.Module, channels_axis: int) -> Form:
    def apply(params: dict, x: jax.Array) -> jax.Array:
        return layer.apply({"params": params}, x, mutable=["batch_stats"])[0]

    return Form(apply, channels_axis)


def params_of(layer: nn.Module, features: int) -> dict:
    images = jnp.zeros((features, 1, 4, 4))
    return jax.jit(layer.init)(jax.random.key(0), images)["params"]


def folded(params: dict, x: jax.Array) -> jax.Array:
    """L reads K's channels where they are: its product is over a split axis."""
    k = swish(group_products(x, params["K"]["kernel"]))
    kernel = params["L"]["kernel"]
    groups, width, features = kernel.shape
    if groups % width:  # a group of L reads several runs of K
        mixed = gpwjax.interleave(k, width, axis=0)
        return swish(group_products(mixed, kernel)) + k
    # Channel (h, i, s) of K is i of the group (s, h) of L.
    parts = k.reshape(groups // width, width, width, -1)
    kernel = kernel.reshape(width, groups // width, width, features)
    y = jnp.einsum("hism,shio->shom", parts, kernel)
    return swish(y.reshape(x.shape)) + k


def block_diagonal(width: int, params: dict, x: jax.Array) -> jax.Array:
    """Several groups in one product, with zeros between them."""

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        groups, i, o = kernel.shape
        merged = max(1, min(groups, width // i))
        kernel = kernel.reshape(groups // merged, merged, i, o)
        kernel = jnp.einsum("gsio,st->gsito", kernel, jnp.eye(merged))
        return group_products(x, kernel.reshape(-1, merged * i, merged * o))

    k = swish(convolve(x, params["K"]["kernel"]))
    mixed = gpwjax.interleave(k, params["L"]["kernel"].shape[1], axis=0)
    return swish(convolve(mixed, params["L"]["kernel"])) + k


def group_products(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The grouped convolution of (C, N, H, W) as a batch of products."""
    groups, width, features = kernel.shape
    grouped = x.reshape(groups, width, -1)
    y = jnp.einsum("gim,gio->gom", grouped, kernel.astype(x.dtype))
    return y.reshape(groups * features, *x.shape[1:])


def grouped_convolution(params: dict, x: jax.Array) -> jax.Array:
    """The same in plain Flax, whose kernels are (1, 1, in / groups, features)."""

    def plain(kernel: jax.Array) -> jax.Array:
        groups, width, features = kernel.shape
        return kernel.swapaxes(0, 1).reshape(1, 1, width, groups * features)

    conv = partial(nn.Conv, dtype=x.dtype)
    layer = flax_nets.Pointwise(x.shape[-1], CHANNELS, conv, None, nn.swish)
    return layer.apply({"params": jax.tree.map(plain, params)}, x)


def shifted(params: dict, x: jax.Array) -> jax.Array:
    """A sum of shifted products without a gradient of its own."""
    kernel = params["kernel"].astype(x.dtype)[..., None, None, None]
    padded = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    return sum(
        padded[:, :, i : i + height, j : j + width] * kernel[i, j, 0]
        for i in range(3)
        for j in range(3)
    )


def measure(
    forms: dict[str, Form], params: dict, x: jax.Array, repeats: int
) -> dict[str, Times]:
    """Times of each form, forward and with the gradients."""
    programs: dict[str, dict[str, Any]] = {"forward": {}, "with gradients": {}}
    reference = None
    for name, (apply, axis) in forms.items():
        images = x if axis == 0 else channels_last(x)
        back = (lambda y: y) if axis == 0 else channels_first

        def both(
            params: dict, images: jax.Array, apply: Apply = apply
        ) -> tuple[dict, jax.Array]:
            y, pull_back = jax.vjp(apply, params, images)
            return pull_back(jnp.cos(y))

        forward, both = jax.jit(apply), jax.jit(both)
        dparams, dx = both(params, images)
        results = (back(forward(params, images)), dparams, back(dx))
        if reference is None:
            reference = results
        elif x.dtype == jnp.float32:
            chex.assert_trees_all_close(results, reference, rtol=1e-3, atol=1e-2)
        for use, function in zip(programs, (forward, both), strict=True):
            programs[use][name] = partial(run, function, params, images)
    return {use: interleaved(of, repeats) for use, of in programs.items()}


def run(function: Callable, *args: Any) -> None:
    jax.block_until_ready(function(*args))


def table(case: str, uses: dict[str, Times]) -> list[str]:
    """Lines of text; each ratio says how many times as long as ours it takes."""
    lines = [case]
    for use, times in uses.items():
        for form, t in times.items():
            ratio = t["median"] / times["ours"]["median"]
            lines.append(f"  {use:<16}{form:<40}{t['median']:>9,.2f} ms{ratio:>8.2f}")
    return lines


if __name__ == "__main__":
    keep_memory()
    use_compilation_cache()
    main()
