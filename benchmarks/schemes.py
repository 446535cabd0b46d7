"""The three schemes of grouped pointwise convolutions beside each other.

    python -m benchmarks.schemes counts
    python -m benchmarks.schemes train --work FOLDER --data-dir path/to/tfds [--runs N]
    python -m benchmarks.schemes steps [--nets NET ...] [--batch 8] [--size 224]
        [--repeats 15]

`counts` prints the table of parameters and MACs of all nets. `train` trains MobileNet
by each scheme at equal `min_channels` and at equal parameters, with three seeds, on the
digits and on 5,000 images of CIFAR-10, by `python -m train`; what is known already is
not run again, and after --runs trainings it ends. `steps` measures train steps on this
machine, in turns in one process: milliseconds and temporary memory.

`train` and `steps` add to results/schemes-DATE-DEVICE.json and print it as tables.
"""

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax

import gpwjax
from benchmarks.programs import CHANNELS, CLASSES, example_batch, train_program
from benchmarks.record import latest, record
from benchmarks.runs import accuracy_cell, cifar10_pictures, figures_of_run
from benchmarks.timing import interleaved
from gpwjax.compilation import use_compilation_cache
from gpwjax.memory import keep_memory
from gpwjax.schemes import SCHEMES

SMALL = ("efficientnet_b0", "densenet_bc_l100")  # measured at 32 pixels
FOR_32_PIXELS = ("densenet_bc_l100", "convmixer")
SEEDS = 3
# `any` has the parameters of `divisible` at 16 channels, where all its groups are even,
# and 4% less at 15, where few are; `parallel` has 10% more at any width from 9 to 16.
MOBILENETS = (("divisible", 16), ("any", 16), ("parallel", 16), ("any", 15))
ARGUMENTS = {
    "digits": ["--data", "digits", "--epochs", "16"],
    "cifar10": ["--image-size", "64", "--no-small-images", "--epochs", "10"],
}


class Training(NamedTuple):
    """A run to make."""

    data: str
    seed: int
    scheme: str
    channels: int

    @property
    def name(self) -> str:
        return f"{self.data} {self.scheme} {self.channels}ch seed {self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("counts")
    training = commands.add_parser("train")
    training.add_argument("--work", type=Path, required=True)
    training.add_argument("--data-dir", type=Path)
    training.add_argument("--runs", type=int, default=1_000)
    steps = commands.add_parser("steps")
    steps.add_argument("--nets", nargs="+", metavar="NET", default=list(CHANNELS))
    steps.add_argument("--batch", type=int, default=8)
    steps.add_argument("--size", type=int, default=224)
    steps.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    if options.command == "counts":
        print("\n".join(count_table()))
    elif options.command == "train":
        train_missing(options)
    else:
        measure_steps(options)


def count_table() -> Iterator[str]:
    """Parameters and MACs in millions, of all nets at their usual channels."""
    yield "| net | image | " + " | ".join(f"`{scheme}`" for scheme in SCHEMES) + " |"
    yield "|---" * (2 + len(SCHEMES)) + "|"
    for name in gpwjax.list_models():
        channels = CHANNELS.get(name, 16)
        size = 32 if name in FOR_32_PIXELS else 224
        cells = []
        for scheme in SCHEMES:
            model = gpwjax.create_model(name, CLASSES, channels, scheme=scheme)
            counts = gpwjax.count(model, (size, size, 3))
            cells.append(f"{counts.params:,} / {counts.macs / 1e6:,.1f} M")
        yield f"| `{name}` {channels}ch | {size} | {' | '.join(cells)} |"


def train_missing(options: argparse.Namespace) -> None:
    """Makes up to so many of the runs that the results lack, and prints them all."""
    trainings = [
        Training(*case, *net)
        for *case, net in product(ARGUMENTS, range(SEEDS), MOBILENETS)
    ]
    known = latest("schemes")
    missing = [t for t in trainings if t.name not in known.get("runs", {})]
    for training in missing[: options.runs]:
        figures = train(training, options)
        print(f"{training.name}: {figures['test_accuracy']:.2%}", flush=True)
        add("runs", training.name, figures)
    print("\n".join(run_table(latest("schemes").get("runs", {}))))


def train(training: Training, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of a run that it makes."""
    arguments = list(ARGUMENTS[training.data])
    if training.data == "cifar10":
        arguments += ["--data", cifar10_pictures(options.work, options.data_dir)]
    arguments += ["--scheme", training.scheme, "--min-channels", training.channels]
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        return figures_of_run(Path(folder, "run"), *arguments, "--seed", training.seed)


def run_table(runs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Test accuracies of the runs made so far, means and ranges over the seeds."""
    yield "| MobileNet | parameters | " + " | ".join(ARGUMENTS) + " |"
    yield "|---" * (2 + len(ARGUMENTS)) + "|"
    for net in MOBILENETS:
        cells, params = [], None
        for data in ARGUMENTS:
            of = [runs.get(Training(data, s, *net).name) for s in range(SEEDS)]
            made = [run for run in of if run is not None]
            params = next((run["params"] for run in made), params)
            cells.append(accuracy_cell([run["test_accuracy"] for run in made]))
        scheme, channels = net
        yield f"| `{scheme}` {channels}ch | {params} | {' | '.join(cells)} |"


def measure_steps(options: argparse.Namespace) -> None:
    """Milliseconds and memory of the train steps of each net by the three schemes."""
    for name in options.nets:
        channels, small = CHANNELS[name], name in SMALL
        size = 32 if small else options.size
        data = example_batch(options.batch, size)
        programs = {}
        for scheme in SCHEMES:
            model = gpwjax.create_model(name, CLASSES, channels, small, scheme=scheme)
            programs[scheme] = train_program(model, *data)
        times = interleaved({s: p.run for s, p in programs.items()}, options.repeats)
        figures = {
            scheme: {
                "milliseconds": times[scheme],
                "temporary_MiB": temporary(program.compiled),
            }
            for scheme, program in programs.items()
        }
        case = f"{name} {channels}ch {size} px batch {options.batch}"
        add("steps", case, figures)
        print(case, *lines(figures), sep="\n", flush=True)


def temporary(compiled: jax.stages.Compiled) -> float:
    return compiled.memory_analysis().temp_size_in_bytes / 2**20


def lines(figures: dict[str, dict[str, Any]]) -> Iterable[str]:
    for scheme, of in figures.items():
        median, mebibytes = of["milliseconds"]["median"], of["temporary_MiB"]
        yield f"  {scheme:<12}{median:>9,.1f} ms{mebibytes:>9,.0f} MiB"


def add(kind: str, case: str, figures: dict[str, Any]) -> None:
    """Writes figures beside all that is known of this device, whatever its day."""
    known = latest("schemes")
    cases = {name: known.get(name, {}) for name in ("runs", "steps")}
    cases[kind][case] = figures
    record("schemes", cases)


if __name__ == "__main__":
    keep_memory()
    use_compilation_cache()
    main()
