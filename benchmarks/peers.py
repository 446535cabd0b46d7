"""Our nets beside the same nets in plain Flax and in PyTorch, on the same device.

    python -m benchmarks.peers NET ... [--batch 8] [--size 224] [--dtype float32]
        [--repeats 15] [--peers flax torch torch-compile]

Plain Flax is `nn.Conv` with `feature_group_count`. PyTorch's nets hold their images in
channels_last and run eagerly, and through torch.compile with torch-compile; they are
measured where PyTorch is installed. All have swish after their pointwise layers.
Measures inference with 1 image and with a batch, and a train step, in turns in
one process, on a CPU also in a second one without `gpwjax.keep_memory`; prints medians
with their quartiles, and how many times as long as our grouped net each takes. Writes
results/peers-DATE-DEVICE.json and draws all of the day's beside it, as .png.
"""

import argparse
import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import jax
import numpy as np
from flax import linen as nn
from matplotlib.figure import Figure

from benchmarks import flax_nets
from benchmarks.programs import (
    CHANNELS,
    CLASSES,
    Program,
    example_batch,
    jax_programs,
    our_net,
    torch_programs,
)
from benchmarks.record import add, latest
from benchmarks.timing import Times, interleaved
from gpwjax.compilation import use_compilation_cache
from gpwjax.memory import keep_memory

OURS = "ours grouped"
PEERS = ("flax", "torch", "torch-compile")
Uses = dict[str, Times]  # of the nets, by use


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="+", metavar="NET", choices=CHANNELS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS[:-1])
    options = parser.parse_args()
    packages = ["ours", *filter(is_installed, options.peers)]
    for name in options.nets:
        case = f"{name} {options.size} px batch {options.batch} {options.dtype}"
        for way, times in ways(name, packages, options):
            print("\n".join(table(f"{name}{way}", times)), flush=True)
            file = add("peers", f"{case}{way}", times)
    picture = file.with_suffix(".png")
    draw(latest("peers")["cases"], picture)
    print(f"written to {file} and {picture}")


def is_installed(package: str) -> bool:
    return not package.startswith("torch") or bool(importlib.util.find_spec("torch"))


def ways(
    name: str, packages: list[str], options: argparse.Namespace
) -> Iterator[tuple[str, Uses]]:
    """What `measure` gives; on a CPU with `keep_memory` and without, each in a process
    of its own, since what counts is JAX's first computation."""
    if jax.default_backend() != "cpu":
        yield "", measure(name, packages, options)
        return
    spawn = get_context("spawn")
    for way, keep in (("", True), (", without keep_memory", False)):
        with ProcessPoolExecutor(1, spawn, begin, (keep,)) as process:
            yield way, process.submit(measure, name, packages, options).result()


def begin(keep: bool) -> None:
    if keep:
        keep_memory()
    use_compilation_cache()


def measure(name: str, packages: list[str], options: argparse.Namespace) -> Uses:
    """The times of each net in each use."""
    data = example_batch(options.batch, options.size)
    uses: dict[str, dict[str, Program]] = {}
    for package in packages:
        for kind, channels in (("grouped", CHANNELS[name]), ("dense", None)):
            programs = makers(name, channels, options.dtype)[package](*data)
            for use, program in programs.items():
                uses.setdefault(use, {})[f"{package} {kind}"] = program
    return {
        use: interleaved({net: p.run for net, p in of.items()}, options.repeats)
        for use, of in uses.items()
    }


def makers(name: str, channels: int | None, dtype: str) -> dict[str, Callable]:
    """What makes the programs of a net, by package."""

    def flax(*data: np.ndarray) -> dict[str, Program]:
        net = flax_nets.create_model(
            name, CLASSES, channels, dtype=dtype, pointwise_activation=nn.swish
        )
        return jax_programs(net, *data)

    torch = partial(torch_programs, name, channels, dtype=dtype)
    return {
        "ours": partial(jax_programs, our_net(name, channels, dtype=dtype)),
        "flax": flax,
        "torch": torch,
        "torch-compile": partial(torch, compiled=True),
    }


def table(name: str, uses: Uses) -> list[str]:
    lines = []
    for use, times in uses.items():
        lines.append(f"{name}, {use}")
        for net, t in times.items():
            spread = f"({t['low']:,.1f} to {t['high']:,.1f})"
            ratio = t["median"] / times[OURS]["median"]
            lines.append(
                f"  {net:<22}{t['median']:>10,.1f} ms {spread:<24}{ratio:>6.2f}"
            )
    return lines


def draw(cases: dict[str, Uses], file: Path) -> None:
    """A row for each case, a column for each use, a bar for each net."""
    figure = Figure(figsize=(13, 1 + 2.3 * len(cases)), layout="constrained")
    rows = figure.subplots(len(cases), 3, squeeze=False)
    for (case, uses), row in zip(cases.items(), rows, strict=True):
        for (use, times), axes in zip(uses.items(), row, strict=True):
            medians = [t["median"] for t in times.values()]
            colors = ["tab:blue" if net == OURS else "tab:gray" for net in times]
            bars = axes.barh(list(times), medians, color=colors)
            axes.bar_label(bars, fmt="{:,.0f}", padding=3)
            axes.set(xscale="log", xlim=(min(medians) / 2, max(medians) * 3))
            axes.set_xticks([], minor=True)
            axes.set_xticks([])  # the bars have their numbers
            title = f"{case}, {use}".replace(", ", "\n")
            axes.set_title(title, fontsize="small")
            axes.invert_yaxis()
    figure.supxlabel("milliseconds, median")
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    use_compilation_cache()
    main()
