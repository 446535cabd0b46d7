"""Train steps compiled for a TPU v5e or an H100 that is not here: the compiler's
estimates of our nets beside plain Flax' (`flax_nets.py`).

    JAX_PLATFORMS=cpu python -m benchmarks.accelerators v5e|h100 [--nets NET ...]
        [--scheme any|parallel] [--size 224] [--batch 256] [--folder benchmarks/results]

Needs `jax[tpu]` or `jax[cuda12]`, each in an environment of its own. Every net is
compiled dense and grouped, in bfloat16, on one chip: the bare step (forward, backward,
RMSprop), of MobileNet 16ch also the whole step of `python -m train`, with augmentation.
For v5e two grouped nets are compiled on four chips too. EfficientNet-B0 is the form for
small images, at --small-size, DenseNet has that size too. All MobileNets have swish
after their pointwise layers. With --scheme only the bare steps of the nets grouped so.

Prints a line for each program, and writes it to accelerators-DATE.json with the
versions; then all of that file as a table and, beside it, as a picture. Plain Flax'
programs are not compiled again while the versions are the same. A TPU program takes one
to ten minutes of one core.
"""

import argparse
import datetime
import json
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from benchmarks import ahead, flax_nets
from benchmarks.programs import CHANNELS, CLASSES, our_net
from benchmarks.record import RESULTS, commit
from gpwjax.schemes import PAPERS, SCHEMES

OURS, PLAIN = "ours", "plain Flax"
SMALL = ("efficientnet_b0", "densenet_bc_l100")  # compiled for small images
ON_FOUR_CHIPS = ("mobilenet", "efficientnet_b0")
VERSIONS = ("jax", "jaxlib", "flax", "optax")


class Program(NamedTuple):
    """A train step to compile."""

    target: str
    net: str
    channels: int | None  # of a group; None: dense
    size: int
    batch: int
    package: str = OURS
    chips: int = 1
    step: str = "bare"
    scheme: str = PAPERS

    @property
    def name(self) -> str:
        kind = "dense" if self.channels is None else f"{self.channels}ch"
        if self.scheme != PAPERS:
            kind += f" {self.scheme}"
        chips = "1 chip" if self.chips == 1 else f"{self.chips} chips"
        return (
            f"{self.target} {self.net} {kind} {self.size} px batch {self.batch}, "
            f"{chips}, {self.step} step, {self.package}"
        )

    @property
    def peer(self) -> "Program":
        """Plain Flax' bare step on one chip, which it is compared with."""
        return self._replace(package=PLAIN, chips=1, step="bare", scheme=PAPERS)

    def model(self) -> nn.Module:
        small = self.net == "efficientnet_b0"
        if self.package == OURS:
            net = our_net(self.net, self.channels, small, jnp.bfloat16)
            return net.clone(scheme=self.scheme)
        return flax_nets.create_model(
            self.net, CLASSES, self.channels, small, jnp.bfloat16, nn.swish
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=ahead.TARGETS)
    parser.add_argument("--nets", nargs="+", metavar="NET", choices=CHANNELS)
    parser.add_argument("--scheme", choices=SCHEMES, default=PAPERS)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--small-size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--one-chip", action="store_true", help="nothing on four chips")
    parser.add_argument("--grouped", action="store_true", help="no dense nets")
    parser.add_argument("--bare", action="store_true", help="no whole step")
    parser.add_argument("--folder", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.nets = options.nets or list(CHANNELS)
    file = options.folder / f"accelerators-{datetime.date.today()}.json"
    for program in programs(options):
        found = known(program, options.folder)
        if found is None or program.package == OURS:
            found = compiled(program)
        add(file, program, found)
        print(f"{program.name}: {as_text(found)}", flush=True)
    entries = json.loads(file.read_text())["programs"]
    print("\n".join(["", *table(entries)]))
    draw(entries, file.with_suffix(".png"))
    print(f"written to {file} and {file.with_suffix('.png')}")


def programs(options: argparse.Namespace) -> Iterator[Program]:
    """Those that the options ask for, plain Flax' after ours."""
    target = options.target
    for net in options.nets:
        size = options.small_size if net in SMALL else options.size
        if options.scheme != PAPERS:
            grouped = target, net, CHANNELS[net], size, options.batch
            yield Program(*grouped, scheme=options.scheme)
            continue
        for channels in (CHANNELS[net], *[None] * (not options.grouped)):
            ours = Program(target, net, channels, size, options.batch)
            yield ours
            yield ours.peer
        grouped = ours._replace(channels=CHANNELS[net])
        if net in ON_FOUR_CHIPS and target == "v5e" and not options.one_chip:
            yield grouped._replace(chips=4)
        if net == "mobilenet" and not options.bare:
            yield grouped._replace(step="whole")


def compiled(program: Program) -> dict[str, Any]:
    """What the compiler says of a program, and what it depends on."""
    devices = ahead.chips(program.target, program.chips)
    begun, cpu_begun = time.perf_counter(), time.process_time()
    lower = ahead.STEPS[program.step]
    step = lower(program.model(), devices, program.batch, program.size).compile()
    about = {
        "versions": versions(program.target),
        "commit": commit(),
        "compile_seconds": round(time.perf_counter() - begun, 1),
        # Of all threads: comparable where the machine has other work.
        "compile_cpu_seconds": round(time.process_time() - cpu_begun, 1),
    }
    return about | ahead.estimates(step)


def versions(target: str) -> dict[str, str]:
    return {name: version(name) for name in (*VERSIONS, ahead.PACKAGES[target])}


def known(program: Program, folder: Path) -> dict[str, Any] | None:
    """The newest result of a program with these versions, if there is one."""
    wanted = versions(program.target)
    for file in sorted(folder.glob("accelerators-*.json"), reverse=True):
        found = json.loads(file.read_text())["programs"].get(program.name)
        if found and found["versions"] == wanted:
            return found
    return None


def add(file: Path, program: Program, found: dict[str, Any]) -> None:
    """Writes a program beside the others of the day."""
    entries = json.loads(file.read_text())["programs"] if file.is_file() else {}
    entries[program.name] = program._asdict() | found
    note = "estimates of the compiler; no chip ran"
    file.write_text(json.dumps({"note": note, "programs": entries}, indent=2) + "\n")


def as_text(found: dict[str, Any]) -> str:
    cycles = found.get("cycles")
    parts = [
        f"{cycles / 1e6:.1f} M cycles" if cycles else "",
        f"{found['temporary_bytes'] / 1e9:.2f} GB temporary",
        f"{found['kernel_bytes'] / 1e9:.1f} GB of all kernels",
        f"compiled in {found['compile_seconds']:.0f} s",
    ]
    return ", ".join(filter(None, parts))


def peer_name(entry: dict[str, Any]) -> str:
    fields = (field for field in Program._fields if field in entry)
    return Program(**{field: entry[field] for field in fields}).peer.name


def table(entries: dict[str, dict[str, Any]]) -> list[str]:
    """In Markdown: each program, and in brackets how many times plain Flax' it is."""
    columns = {
        "M cycles": ("cycles", 1e6),
        "of copies": ("copy_cycles", 1e6),
        "GB temporary": ("temporary_bytes", 1e9),
        "GB accessed": ("accessed_bytes", 1e9),
        "GB of kernels": ("kernel_bytes", 1e9),
        "s compiling": ("compile_seconds", 1),
        "CPU s": ("compile_cpu_seconds", 1),
    }
    counts = {"copies": "copy", **{f"{kind}s": kind for kind in ahead.COLLECTIVES}}
    lines = [
        f"| estimated by the compiler | {' | '.join((*columns, *counts))} |",
        "|---" * (1 + len(columns) + len(counts)) + "|",
    ]
    for name, entry in entries.items():
        peer = entries.get(peer_name(entry), {})
        cells = [name]
        for key, unit in columns.values():
            value = f"{entry[key] / unit:,.2f}" if key in entry else ""
            if value and entry["package"] == OURS and peer.get(key):
                value += f" ({entry[key] / peer[key]:.2f})"
            cells.append(value)
        cells += [str(entry[key]) for key in counts.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def draw(entries: dict[str, dict[str, Any]], file: Path) -> None:
    """Of each target two columns: cycles or bytes of kernels, and temporary memory."""
    from matplotlib.figure import Figure

    targets = sorted({entry["target"] for entry in entries.values()}, reverse=True)
    figure = Figure(figsize=(13, 1 + 0.22 * len(entries)), layout="constrained")
    count = Counter(entry["target"] for entry in entries.values())
    heights = [count[target] + 2 for target in targets]
    rows = figure.subplots(len(targets), 2, squeeze=False, height_ratios=heights)
    for target, row in zip(targets, rows, strict=True):
        of = {
            name.removeprefix(f"{target} "): entry
            for name, entry in entries.items()
            if entry["target"] == target
        }
        speed = ("cycles", 1e6, "M cycles")
        if target == "h100":
            speed = ("kernel_bytes", 1e9, "GB of all kernels")
        panels = (speed, ("temporary_bytes", 1e9, "GB of temporary memory"))
        for axes, (key, unit, title) in zip(row, panels, strict=True):
            values = [entry[key] / unit for entry in of.values()]
            ours = [entry["package"] == OURS for entry in of.values()]
            colors = ["tab:blue" if mine else "tab:gray" for mine in ours]
            bars = axes.barh(list(of), values, color=colors)
            axes.bar_label(bars, fmt="{:,.2f}", padding=3, fontsize="x-small")
            axes.tick_params(labelsize="x-small")
            axes.set_xlim(0, 1.15 * max(values))
            axes.set_title(f"{target}: {title}, the compiler's estimate", fontsize=10)
            axes.invert_yaxis()
        row[1].set_yticklabels([])
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main()
