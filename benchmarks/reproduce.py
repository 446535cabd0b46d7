"""The paper's accuracies again: runs of whole recipes, in slices that can be stopped.

    python -m benchmarks.reproduce [ROW ...] [--seeds 1] [--minutes 9]
        [ARGUMENTS OF gpwjax train ...]

Each ROW is a preset (none: those of ROWS, in their order); what gpwjax train takes,
such as --data-dir and --dtype, is for all of them. The runs are ordinary ones in
folders of --work. After --minutes, at Ctrl-C or at SIGTERM the run that is going saves
a checkpoint, and the same command goes on from there; a machine that keeps nothing
needs a copy of the folder of --work.

Adds the finished runs that had a whole recipe to results/accuracy.csv, draws
results/accuracy.png and prints the table of README.md; --table does only that. --trial
trains each row for some seconds instead, and writes how long the whole recipe would
take to results/trial-DATE-DEVICE.json.
"""

import argparse
import dataclasses
import itertools
import json
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy import COMMITS, table, update
from benchmarks.record import commit
from gpwjax.files import write_text
from gpwjax.memory import keep_memory
from train.__main__ import run
from train.command_line import parse
from train.config import Config, RunError
from train.origin import check_run_folder
from train.process.runtime import start_logging
from train.process.stop import Stopped, StopRequest
from train.run_folder import is_finished, read_json

ROWS = (
    "cifar10-efficientnet_b0-16ch-32",
    "cifar10-efficientnet_b0-32ch-32",
    "cifar10-densenet_bc_l100-dense",
    "cifar10-densenet_bc_l100-12ch",
    "cifar10-densenet_bc_l100-24ch",
    "cifar10-mobilenet-16ch",
    "cifar10-mobilenet-32ch",
    "cifar10-mobilenet-dense",
    "cifar10-mobilenet_v3_large-16ch",
    "cifar10-mobilenet_v3_large-32ch",
    "cifar10-mobilenet_v3_large-dense",
    "cifar10-efficientnet_b0-16ch",
    "modern-cifar10-mobilenet-16ch",
    "modern-cifar10-mobilenet_v3_large-16ch",
)
TOLD = ("--preset", "--seed", "--run-dir")  # this says it of each run
COMMIT = re.compile(r"[0-9a-f]{40}(-dirty)?")


def main() -> int:
    """Runs the program; the exit status."""
    options, configs = parse_arguments(sys.argv[1:])
    start_logging()
    stop = StopRequest()
    try:
        if options.trial:
            # Here and not at the top, since JAX takes seconds.
            from benchmarks.trial import try_rows

            one_seed = configs[: len(configs) // options.seeds]
            try_rows(one_seed, options.trial, options.commit)
            return 0
        if not options.table:
            stop_after(options.minutes, stop)
            run_rows(configs, options, stop)
        print(table(update(options.work)))
        return 0
    except Stopped as stopped:
        print(f"{stopped}; the same command goes on from there")
        return stopped.exit_status
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parse_arguments(args: Sequence[str]) -> tuple[argparse.Namespace, list[Config]]:
    """The options of this program, and the runs: each seed for all rows."""
    parser = make_parser()
    # First, since the arguments of gpwjax train may have values.
    rows = list(itertools.takewhile(lambda word: not word.startswith("-"), args))
    options, others = parser.parse_known_args(args[len(rows) :])
    for word in others:
        if word.partition("=")[0] in TOLD:
            parser.error(f"{word} is not taken: ROW, --seeds and --work say it")
    if options.minutes <= 0:
        parser.error(f"--minutes must be more than 0, got {options.minutes}")
    if options.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {options.seeds}")
    options.commit = options.commit or commit()
    if not options.table and not COMMIT.fullmatch(options.commit):
        parser.error(
            "--commit must be the 40 digits of git rev-parse HEAD, and -dirty where "
            f"the code differs from it, got {options.commit!r}"
        )
    configs = [parse(["--preset", row, *others]) for row in rows or ROWS]
    pairs = itertools.product(range(options.seeds), configs)
    return options, [one_run(config, seed, options.work) for seed, config in pairs]


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce",
        usage="%(prog)s [ROW ...] [options] [ARGUMENTS OF gpwjax train ...]",
        description=__doc__.splitlines()[0],
        allow_abbrev=False,
    )
    arg = parser.add_argument
    arg("--seeds", type=int, default=1, help="runs of each row, with seeds from 0 on")
    arg("--minutes", type=float, default=9.0, help="of a slice, its start included")
    arg("--work", type=Path, default=Path("runs/reproduce"), help="for run folders")
    arg("--commit", help="of this code, where git does not know it")
    arg("--trial", type=float, metavar="SECONDS", help="only measure the speed")
    arg("--table", action="store_true", help="only print the table")
    return parser


def one_run(config: Config, seed: int, work: Path) -> Config:
    """The configuration of a row with a seed."""
    folder = work / f"{config.preset}-{config.dtype}-seed{seed}"
    return dataclasses.replace(config, seed=seed, run_dir=folder)


def stop_after(minutes: float, stop: StopRequest) -> None:
    """Has the process get SIGTERM then, unless it was asked to stop before."""

    def ask(*_: object) -> None:
        if stop.signum is None:  # a second one would not let the run save
            signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGALRM, ask)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes)


def run_rows(
    configs: Sequence[Config], options: argparse.Namespace, stop: StopRequest
) -> None:
    """Makes the runs that are not finished, one after the other.

    Raises:
      RunError: one cannot begin or go on.
      Stopped: it was asked to stop; where it stopped is saved.
    """
    for config in configs:
        check_run_folder(config)
    for config in configs:
        if is_finished(config.folder):
            continue
        if stop.signum is not None:
            raise Stopped(stop.signum, f"stopped before {config.folder.name}")
        note_commit(config.folder, options.commit)
        run(config, stop)
        update(options.work)


def note_commit(folder: Path, number: str) -> None:
    """Writes beside a run's folder with which commit it goes on."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / COMMITS
    commits = read_json(file) if file.is_file() else {}
    numbers = commits.setdefault(folder.name, [])
    if number not in numbers:
        numbers.append(number)
    write_text(file, json.dumps(commits, indent=2))


if __name__ == "__main__":
    keep_memory()
    sys.exit(main())
