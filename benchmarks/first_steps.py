"""The first steps of presets on their own data, in float32 and bfloat16.

    python -m benchmarks.first_steps [PRESET ...] [--steps 300] [--data-dir DIR]

Draws the training loss of each step and writes it, results/first-steps-DATE-DEVICE.png
and .json. On two CPU cores a step of the default presets takes seconds; what was
measured before, with the same number of steps, is not run again.
"""

import argparse
import itertools
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks.batches import endless_batches
from benchmarks.record import latest, record, today
from gpwjax.compilation import use_compilation_cache
from gpwjax.memory import keep_memory
from train.command_line import parse
from train.data import load_dataset
from train.process.progress import progress_bar
from train.start import first_state, run_of
from train.step import train_step

NAME = "first-steps"
PRESETS = ("cifar10-densenet_bc_l100-12ch", "cifar10-efficientnet_b0-16ch-32")
DTYPES = ("float32", "bfloat16")
SMOOTH = 20  # steps of the running mean in the picture


def main() -> None:
    """Runs what is missing in the results, and draws them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", metavar="PRESET", default=PRESETS)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--data-dir", default=None)
    options = parser.parse_args()
    place = ["--data-dir", options.data_dir] if options.data_dir else []
    runs = latest(NAME).get("runs", {})
    for preset, dtype in itertools.product(options.presets, DTYPES):
        name = f"{preset} {dtype}"
        if len(runs.get(name, {"losses": []})["losses"]) != options.steps:
            args = ["--preset", preset, "--dtype", dtype, *place]
            runs[name] = first_steps(args, options.steps)
            record(NAME, {"runs": runs})
        print(summary(name, runs[name]), flush=True)
    file = today(NAME)
    draw(runs, file.with_suffix(".png"))
    print(f"written to {file} and {file.with_suffix('.png')}")


def first_steps(args: list[str], steps: int) -> dict[str, Any]:
    """The losses of the first steps of a run with these arguments."""
    config = parse(args)
    run = run_of(config, load_dataset(config))
    state = first_state(config, run.model, run.optimizer)(run.keys["init"])
    step = partial(train_step, settings=run.step_settings)
    losses, begun = [], time.monotonic()
    with progress_bar(config.dtype, steps, unit="step") as bar:
        for _, batch in itertools.islice(endless_batches(run), steps):
            state, loss = step(state, *batch, run.keys["step"])
            losses.append(round(float(loss), 5))
            bar.set_postfix_str(f"loss {losses[-1]:.3f}", refresh=False)
            bar.update()
    seconds = time.monotonic() - begun
    finite = all(bool(np.isfinite(x).all()) for x in jax.tree.leaves(state.variables))
    return {"seconds": round(seconds, 1), "finite": finite, "losses": losses}


def summary(name: str, run: dict[str, Any]) -> str:
    """Mean losses of the first and the last tenth of the steps, in a line."""
    losses = run["losses"]
    part = max(1, len(losses) // 10)
    first, last = np.mean(losses[:part]), np.mean(losses[-part:])
    finite = run["finite"] and all(map(math.isfinite, losses))
    return (
        f"{name}: loss {first:.3f} in the first {part} steps, {last:.3f} in the last; "
        f"{'all finite' if finite else 'NOT FINITE'}; {run['seconds']:,.0f} s"
    )


def draw(runs: dict[str, Any], file: Path) -> None:
    """A curve for each dtype, one picture for each preset beside the others."""
    presets = list(dict.fromkeys(name.split()[0] for name in runs))
    figure = Figure(figsize=(5.5 * len(presets), 4), layout="constrained")
    for axes, preset in zip(
        np.ravel(figure.subplots(1, len(presets), sharey=True)), presets, strict=True
    ):
        for dtype, color in zip(DTYPES, ("tab:blue", "tab:orange"), strict=True):
            losses = runs.get(f"{preset} {dtype}", {"losses": []})["losses"]
            steps = range(1, len(losses) + 1)
            axes.plot(steps, losses, color=color, alpha=0.25)
            size = min(SMOOTH, len(losses))
            mean = np.convolve(losses, np.ones(size) / size, "valid")
            label = f"{dtype}, mean of {size} steps"
            axes.plot(steps[size - 1 :], mean, color=color, label=label)
        axes.set(title=preset, xlabel="step", ylabel="training loss")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    keep_memory()
    use_compilation_cache()
    main()
