"""Our nets, dense and grouped: speed, memory, and where the time goes.

    python -m benchmarks.nets [NET ...] [--batch 8] [--size 224] [--small-images]
        [--dtype float32] [--precision highest] [--repeats 15]

Measures inference with 1 image and with a batch, and a train step with and without
remat, in turns in one process. Prints medians with their quartiles, images a second,
the share of the roofline, and the memory that XLA gives a program beside its arguments;
then, from a profile, the kinds of operations that a grouped train step spends its time
on. Writes all of it to results/nets-DATE-DEVICE.json.
"""

import argparse
from typing import Any

import jax

from benchmarks.programs import (
    CHANNELS,
    Program,
    example_batch,
    jax_programs,
    our_net,
    train_program,
)
from benchmarks.record import add
from benchmarks.roofline import Rates, least_time, measure_rates
from benchmarks.timing import Quartiles, interleaved
from benchmarks.trace import operations
from gpwjax.compilation import use_compilation_cache
from gpwjax.memory import keep_memory

LONGEST = 12  # kinds of operations that are printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", metavar="NET", default=list(CHANNELS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--small-images", action="store_true")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--precision", default="highest", help="of float32 products")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    with jax.default_matmul_precision(options.precision):
        rates = measure_rates(options.dtype)
        print(
            f"{options.dtype} {options.precision}: {rates.flops / 1e9:,.0f} GFLOP/s, "
            f"{rates.bandwidth / 1e9:,.0f} GB/s"
        )
        for name in options.nets:
            measured = measure(name, options, rates)
            case = " ".join(
                [
                    f"{name} {options.size} px batch {options.batch}",
                    *["small images"] * options.small_images,
                    options.dtype,
                    options.precision,
                ]
            )
            file = add("nets", case, measured | {"rates": rates._asdict()})
    print(f"written to {file}")


def measure(name: str, options: argparse.Namespace, rates: Rates) -> dict[str, Any]:
    """Prints and returns the figures of a net in all of its uses."""
    data = example_batch(options.batch, options.size)
    uses: dict[str, dict[str, Program]] = {}
    for kind, channels in (("grouped", CHANNELS[name]), ("dense", None)):
        net = our_net(name, channels, options.small_images, options.dtype)
        programs = jax_programs(net, *data)
        for use, program in programs.items():
            uses.setdefault(use, {})[kind] = program
        saving = train_program(net.clone(remat=True), *data)
        uses["train step"][f"{kind} remat"] = saving
    figures: dict[str, Any] = {}
    for use, of in uses.items():
        times = interleaved({kind: p.run for kind, p in of.items()}, options.repeats)
        figures[use] = {
            kind: figures_of(program, times[kind], rates)
            for kind, program in of.items()
        }
        print(f"{name}, {use}")
        for kind, row in figures[use].items():
            print(line(kind, row), flush=True)
    figures["operations"] = operations(uses["train step"]["grouped"].run)
    print(f"{name}, operations of a grouped train step")
    for kind, milliseconds in list(figures["operations"].items())[:LONGEST]:
        print(f"  {kind:<40}{milliseconds:>10,.2f} ms")
    return figures


def figures_of(
    program: Program, times: Quartiles, rates: Rates
) -> dict[str, float | Quartiles]:
    seconds = times["median"] / 1000
    return {
        "milliseconds": times,
        "images_per_second": program.images / seconds,
        "share_of_roofline": least_time(program.compiled, rates) / seconds,
        "temporary_MiB": program.compiled.memory_analysis().temp_size_in_bytes / 2**20,
    }


def line(kind: str, figures: dict[str, Any]) -> str:
    times = figures["milliseconds"]
    spread = f"({times['low']:,.1f} to {times['high']:,.1f})"
    return (
        f"  {kind:<15}{times['median']:>10,.1f} ms {spread:<24}"
        f"{figures['images_per_second']:>9,.0f} images/s"
        f"{figures['share_of_roofline']:>7.0%} of the roofline"
        f"{figures['temporary_MiB']:>9,.0f} MiB"
    )


if __name__ == "__main__":
    keep_memory()
    use_compilation_cache()
    main()
