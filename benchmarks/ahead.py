"""Train steps compiled for chips that are not here, and what the compiler says of them.

Nothing runs on a chip: cycles are the TPU compiler's estimates, bytes of kernels are
counted in the optimised program.
"""

import math
import os
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train.config import Config
from train.optimizer import make_optimizer, make_schedule
from train.state import Metrics, TrainState
from train.step import StepSettings, train_step

# Of a CUDA program as `topologies` wants it; a TPU is known by its name.
H100 = Path(__file__).with_name("h100_sxm.txtpb")
TARGETS = {"v5e": "v5e:2x2", "h100": str(H100)}
PACKAGES = {"v5e": "libtpu", "h100": "jax-cuda12-plugin"}  # what compiles for them
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute")
STORED = 32  # pixels of a stored image, which the whole train step enlarges

# What moves bytes, of the instructions of a program that are no fusion's.
KERNELS = {
    *("fusion", "custom-call", "copy", "transpose", "convolution", "dot", "reduce"),
    *("concatenate", "all-reduce", "all-reduce-start", "sort", "scatter", "gather"),
}


def chips(target: str, count: int) -> list[Any]:
    """So many devices of a kind that need not be here.

    Needs `jax[tpu]` or `jax[cuda12]`; without them RuntimeError.
    """
    # No machine's metadata are asked for, and the compiler may run beside another.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    if target == "h100":
        found = topologies.get_topology_desc(
            platform="cuda",
            topology_name="gpu",
            target_config=H100.read_text(),
            topology=f"1x1x{count}",
        )
    else:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=TARGETS[target]
        )
    return found.devices[:count]


def placements(devices: list[Any]) -> tuple[NamedSharding, NamedSharding]:
    """Whole on each device, and spread over all of them along the first axis."""
    mesh = Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))
    whole, spread = PartitionSpec(), PartitionSpec("data")
    return NamedSharding(mesh, whole), NamedSharding(mesh, spread)


def bare_step(
    model: nn.Module, devices: list[Any], batch: int, size: int
) -> jax.stages.Lowered:
    """Forward and backward pass and RMSprop's update of a batch of float images."""
    whole, spread = placements(devices)
    optimizer = optax.rmsprop(1e-3)
    variables = shapes_of_variables(model, size)
    moments = jax.eval_shape(optimizer.init, variables["params"])

    def step(variables: dict, moments: Any, images: jax.Array, labels: jax.Array):
        def loss(params: Any) -> tuple[jax.Array, dict]:
            logits, updated = model.apply(
                variables | {"params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(2)},
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), updated

        grads, updated = jax.grad(loss, has_aux=True)(variables["params"])
        changes, moments = optimizer.update(grads, moments)
        params = optax.apply_updates(variables["params"], changes)
        return variables | updated | {"params": params}, moments

    images = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32, sharding=spread)
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32, sharding=spread)
    state = placed((variables, moments), whole)
    return jax.jit(step, donate_argnums=(0, 1)).lower(*state, images, labels)


def whole_step(
    model: nn.Module, devices: list[Any], batch: int, size: int
) -> jax.stages.Lowered:
    """The train step of `python -m train`: it enlarges and augments stored images."""
    whole, spread = placements(devices)
    config = Config("cifar10", image_size=size, batch_size=batch)

    def first(variables: dict) -> TrainState:
        state = TrainState.create(
            apply_fn=model.apply,
            tx=make_optimizer(config, make_schedule(config, steps_per_epoch=100)),
            metrics=Metrics.zero(),
            **variables,
        )
        return state.replace(step=jnp.zeros((), jnp.int32))

    state = jax.eval_shape(first, shapes_of_variables(model, size))
    stored = (batch, STORED, STORED, 3)
    images = jax.ShapeDtypeStruct(stored, jnp.uint8, sharding=spread)
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32, sharding=spread)
    key = placed(jax.eval_shape(lambda: jax.random.key(0)), whole)
    return train_step.lower(
        placed(state, whole), images, labels, key, settings=StepSettings.of(config)
    )


STEPS = {"bare": bare_step, "whole": whole_step}


def shapes_of_variables(model: nn.Module, size: int) -> dict[str, Any]:
    init = partial(model.init, train=False)
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(init, jax.random.key(0), images)


def placed(tree: Any, where: NamedSharding) -> Any:
    return jax.tree.map(lambda x: x.update(sharding=where), tree)


def estimates(compiled: jax.stages.Compiled) -> dict[str, float]:
    """What the compiler expects of a program. Of a GPU it estimates no cycles."""
    text = compiled.as_text()
    cycles, cost = estimated_cycles(text), compiled.cost_analysis() or {}
    found = {
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "kernel_bytes": kernel_bytes(text),
        "copy": count("copy", "\n".join(entry_lines(text))),
        **{kind: count(kind, text) for kind in COLLECTIVES},
    }
    if "bytes accessed" in cost:
        found["accessed_bytes"] = cost["bytes accessed"]
    if cycles:
        found |= {"cycles": cycles.total(), "copy_cycles": cycles["copy"]}
    return found


def entry_lines(text: str) -> list[str]:
    """The instructions of a program that are not inside of fusions or loops."""
    entry = re.search(r"^ENTRY .*?^}", text, re.DOTALL | re.MULTILINE)
    return entry[0].splitlines() if entry else []


def estimated_cycles(text: str) -> Counter[str]:
    """Cycles of each kind of instruction; a loop counts as one turn of nothing."""
    cycles = Counter()
    for line in entry_lines(text):
        found = re.search(r' ([a-z][\w-]*)\(%.*"estimated_cycles":"(\d+)"', line)
        if found:
            cycles[found[1]] += int(found[2])
    return cycles


def count(kind: str, text: str) -> int:
    return len(re.findall(rf" {kind}(?:-start)?\(", text))


def kernel_bytes(text: str) -> int:
    """Bytes of the operands and results of all kernels of a program.

    Over the bandwidth a floor of its time, unless a cache holds some of them.
    """
    sizes, total = {}, 0
    for line in entry_lines(text):
        found = re.match(r"\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)", line)
        if found is None:
            continue
        name, shape, kind, rest = found.groups()
        sizes[name] = bytes_of(shape)
        if kind in KERNELS:
            operands = re.findall(r"%([\w.\-]+)", rest.split(")")[0])
            total += sizes[name] + sum(sizes.get(name, 0) for name in operands)
    return total


def bytes_of(shape: str) -> int:
    """Of an array or a tuple as programs write them, such as (f32[32]{0}, pred[])."""
    total = 0
    for kind, bits, axes in re.findall(r"(pred|bf|[fsu])(\d*)\[([\d,]*)\]", shape):
        elements = math.prod(int(n) for n in axes.split(",") if n)
        total += elements * (1 if kind == "pred" else max(1, int(bits) // 8))
    return total
