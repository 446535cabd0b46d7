"""The uses of a net that are measured, compiled: inference and a train step.

A train step is the forward and the backward pass and plain gradient descent.
MobileNet's dense nets have swish after their pointwise layers here, as the grouped ones
have.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import gpwjax
from gpwjax.compilation import QUICK_SUMS

CHANNELS = {  # of a group
    "mobilenet": 16,
    "efficientnet_b0": 16,
    "mobilenet_v3_large": 16,
    "densenet_bc_l100": 12,
}
CLASSES = 10
RATE = 1e-3  # of the gradient descent


class Program(NamedTuple):
    """A use of a net: `run` returns when it is done."""

    run: Callable[[], Any]
    images: int
    compiled: jax.stages.Compiled | None = None  # where it is one of XLA's


def example_batch(batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images (batch, size, size, 3) and labels (batch,)."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (batch, size, size, 3)).astype(np.float32)
    return images, rng.integers(0, CLASSES, batch)


def our_net(
    name: str, channels: int | None, small_images: bool = False, dtype: Any = None
) -> nn.Module:
    if name == "mobilenet" and channels is None:
        # So many that each layer is one group: dense, with the grouped net's swish.
        channels = 1024
    return gpwjax.create_model(name, CLASSES, channels, small_images, dtype)


def jax_programs(
    model: nn.Module, images: np.ndarray, labels: np.ndarray
) -> dict[str, Program]:
    """The uses of a Flax net, each a program of its own."""
    variables = first_variables(model, images)
    programs = {"train step": train_program(model, images, labels)}
    for count in sorted({1, len(images)}):
        programs[f"inference {count}"] = inference(model, variables, images[:count])
    return programs


def first_variables(model: nn.Module, images: np.ndarray) -> dict:
    init = partial(model.init, train=False)
    options = {"xla_backend_optimization_level": 0}  # runs once
    return jax.jit(init, compiler_options=options)(jax.random.key(0), images[:1])


def train_program(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> Program:
    """A train step, whose variables are overwritten by the new ones."""
    key = jax.random.key(0)
    state = [first_variables(model, images)]
    images, labels = jnp.asarray(images), jnp.asarray(labels)

    @partial(jax.jit, donate_argnums=0, compiler_options=QUICK_SUMS)
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

    compiled = step.lower(state[0], key).compile()

    def run() -> None:
        state[0] = jax.block_until_ready(compiled(state[0], key))

    return Program(run, len(images), compiled)


def inference(model: nn.Module, variables: dict, images: np.ndarray) -> Program:
    images = jnp.asarray(images)
    infer = jax.jit(partial(model.apply, train=False))
    compiled = infer.lower(variables, images).compile()
    return Program(
        lambda: jax.block_until_ready(compiled(variables, images)),
        len(images),
        compiled,
    )


def torch_programs(
    name: str,
    channels: int | None,
    images: np.ndarray,
    labels: np.ndarray,
    dtype: str = "float32",
    compiled: bool = False,
) -> dict[str, Program]:
    """The same uses of a PyTorch net in channels_last; bfloat16 is its autocast."""
    import torch
    from torch.nn import functional

    from benchmarks import torch_nets

    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = torch_nets.create_model(
        name, CLASSES, channels, pointwise_activation=functional.silu
    ).to(device, memory_format=torch.channels_last)
    net_or_compiled = torch.compile(net) if compiled else net
    x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels).to(device)
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    wait = torch.cuda.synchronize if device == "cuda" else torch.cpu.synchronize

    def forward(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            return net_or_compiled(x)

    def train() -> None:
        net.train()
        optimizer.zero_grad()
        functional.cross_entropy(forward(x), y).backward()
        optimizer.step()
        wait()

    @torch.inference_mode()
    def infer(some: torch.Tensor) -> None:
        net.eval()
        forward(some)
        wait()

    programs = {"train step": Program(train, len(images))}
    for count in sorted({1, len(images)}):
        programs[f"inference {count}"] = Program(partial(infer, x[:count]), count)
    return programs
