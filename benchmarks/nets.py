"""Whole nets, dense and grouped, beside the same nets in plain Flax and in PyTorch.

    python -m benchmarks.nets [NET ...] [--batch 8] [--size 224] [--repeats 15]

Measures inference with 1 image and with a batch, and a train step, in turns in one
process, float32; prints medians with their quartiles and the ratios, and writes
results/nets-DEVICE.json. A step is the forward and the backward pass and plain gradient
descent. MobileNet's dense nets have swish after their pointwise layers here, as the
grouped ones have. PyTorch's nets run eagerly, in channels_last, where it is installed.
"""

import argparse
import importlib.util
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import gpwjax
from benchmarks import flax_nets
from benchmarks.record import record, result_file
from benchmarks.timing import Times, interleaved
from train.runtime import keep_memory, use_compilation_cache

NAME = "nets"
CHANNELS = {  # of a group
    "mobilenet": 16,
    "efficientnet_b0": 16,
    "mobilenet_v3_large": 16,
    "densenet_bc_l100": 12,
}
CLASSES = 10
RATE = 1e-3  # of the gradient descent
OURS = "ours grouped"
Program = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", metavar="NET", default=list(CHANNELS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    file = result_file(NAME)
    measured = json.loads(file.read_text())["nets"] if file.is_file() else {}
    for name in options.nets:
        times, memory = measure(name, options.batch, options.size, options.repeats)
        measured[f"{name} {options.size}px batch {options.batch}"] = {
            "milliseconds": times,
            "temporary_MiB": memory,
        }
        print("\n".join(table(name, times, memory)), flush=True)
        file = record(NAME, {"nets": measured})
    print(f"written to {file}")


def measure(
    name: str, batch: int, size: int, repeats: int
) -> tuple[dict[str, Times], dict[str, float]]:
    """Times of each net in each use, and the temporary memory of our train steps."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (batch, size, size, 3)).astype(np.float32)
    labels = rng.integers(0, CLASSES, batch)
    uses: dict[str, dict[str, Program]] = {}
    memory = {}
    for package, make in makers(name).items():
        for kind, channels in (("grouped", CHANNELS[name]), ("dense", None)):
            net = f"{package} {kind}"
            programs, temporary = make(channels, images, labels)
            if temporary is not None:
                memory[net] = temporary
            for use, program in programs.items():
                uses.setdefault(use, {})[net] = program
    return {use: interleaved(of, repeats) for use, of in uses.items()}, memory


def makers(name: str) -> dict[str, Callable]:
    """What makes the programs of a net, by package."""
    found = {
        "ours": lambda channels, *data: jax_programs(our_net(name, channels), *data),
        "plain Flax": lambda channels, *data: jax_programs(
            flax_nets.create_model(
                name, CLASSES, channels, pointwise_activation=nn.swish
            ),
            *data,
        ),
    }
    if importlib.util.find_spec("torch"):
        found["PyTorch"] = partial(torch_programs, name)
    return found


def our_net(name: str, channels: int | None) -> nn.Module:
    if name == "mobilenet" and channels is None:
        # So many that each layer is one group: dense, with the grouped net's swish.
        channels = 1024
    return gpwjax.create_model(name, CLASSES, channels)


def jax_programs(
    model: nn.Module, images: np.ndarray, labels: np.ndarray
) -> tuple[dict[str, Program], float]:
    """The compiled uses of a Flax net, and the MiB that its train step needs beside its
    arguments."""
    key = jax.random.key(0)
    init = partial(model.init, train=False)
    options = {"xla_backend_optimization_level": 0}  # runs once
    variables = jax.jit(init, compiler_options=options)(key, images[:1])
    images, labels = jnp.asarray(images), jnp.asarray(labels)

    def step(variables: dict, key: jax.Array) -> dict:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            logits, stats = model.apply(
                variables | {"params": params},
                images,
                train=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), stats

        gradient, stats = jax.grad(loss, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda p, g: p - RATE * g, variables["params"], gradient)
        return {"params": params, **stats}

    compiled = jax.jit(step, donate_argnums=0).lower(variables, key).compile()
    infer = jax.jit(partial(model.apply, train=False))
    state = [jax.tree.map(jnp.copy, variables)]

    def train() -> None:
        state[0] = jax.block_until_ready(compiled(state[0], key))

    programs = {"train step": train}
    for count in (1, len(images)):
        some = images[:count]
        programs[f"inference {count}"] = partial(
            lambda some: jax.block_until_ready(infer(variables, some)), some
        )
    return programs, compiled.memory_analysis().temp_size_in_bytes / 2**20


def torch_programs(
    name: str, channels: int | None, images: np.ndarray, labels: np.ndarray
) -> tuple[dict[str, Program], None]:
    """The same uses of a PyTorch net."""
    import torch
    from torch.nn import functional

    from benchmarks import torch_nets

    net = torch_nets.create_model(
        name, CLASSES, channels, pointwise_activation=functional.silu
    ).to(memory_format=torch.channels_last)
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels)
    optimizer = torch.optim.SGD(net.parameters(), RATE)

    def train() -> None:
        net.train()
        optimizer.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    @torch.inference_mode()
    def infer(some: torch.Tensor) -> None:
        net.eval()
        net(some)

    programs = {"train step": train}
    for count in (1, len(images)):
        programs[f"inference {count}"] = partial(infer, x[:count])
    return programs, None


def table(name: str, times: dict[str, Times], memory: dict[str, float]) -> list[str]:
    """Lines of text; each ratio says how many times as fast our grouped net is."""
    lines = []
    for use, of in times.items():
        lines.append(f"{name}, {use}")
        for net, t in of.items():
            ratio = t["median"] / of[OURS]["median"]
            spread = f"({t['low']:,.1f} to {t['high']:,.1f})"
            needs = (
                f"  {memory[net]:,.0f} MiB"
                if use == "train step" and net in memory
                else ""
            )
            lines.append(
                f"  {net:<20}{t['median']:>10,.1f} ms {spread:<24}{ratio:>6.2f}{needs}"
            )
    return lines


if __name__ == "__main__":
    keep_memory()
    use_compilation_cache()
    main()
