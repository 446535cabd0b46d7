"""Runs of the training program that are killed and started again.

    python killed_runs.py FOLDER STEPS TIMES

The first two are not disturbed. The others are killed at one moment each, and then
started again: before STEPS of the steps on the disk (all of them, if there are not so
many), and TIMES of them after a time. Prints what the processes ended with, a line of
JSON for each.
"""

import json
import os
import random
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import made_nets
import tqdm
from killing import count_steps, in_a_process

from gpwjax.models import MODELS
from train import loop, seeds  # noqa: F401
from train.__main__ import main as train
from train.report import build, drawings  # noqa: F401

MODELS["tiny"] = made_nets.Tiny
SETTINGS = [
    "--model",
    "tiny",
    "--image-size",
    "8",
    "--epochs",
    "3",
    "--batch-size",
    "64",
]


def main(folder: Path, on_disk: int, by_clock: int) -> None:
    in_a_process(lambda: run(folder / "again"))
    begun = time.monotonic()
    in_a_process(lambda: run(folder / "whole"))
    seconds = time.monotonic() - begun
    steps = int((folder / "whole" / "steps.txt").read_text())
    chance = random.Random(0)
    moments = chance.sample(range(1, steps + 1), min(steps, on_disk))
    for step in sorted(moments):
        kill(folder / f"step{step}", f"step {step} of {steps}", step, None)
    for number in range(by_clock):
        later = chance.uniform(0, seconds)
        kill(folder / f"time{number}", f"{later:.2f} of {seconds:.2f} s", 0, later)


def kill(killed: Path, moment: str, step: int, later: float | None) -> None:
    """Kills a run before a step on the disk or after a time, and starts it again."""
    status = in_a_process(partial(run, killed, step), later)
    ended = in_a_process(partial(run, killed))
    found = {"run": killed.name, "moment": moment, "killed": status}
    print(json.dumps(found | {"status": ended}), flush=True)


def run(folder: Path, killed_before: int = 0) -> None:
    """The training program; what it says goes into a file beside the run folder."""
    with folder.with_suffix(".log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = ["train", *SETTINGS, "--run-dir", str(folder)]
    count = count_steps(folder, killed_before)
    status = train()
    if not killed_before:
        (folder / "steps.txt").write_text(str(count()))
    os._exit(status)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of jax, that processes are copied
    tqdm.tqdm.monitor_interval = 0  # no thread: it would not be copied
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
