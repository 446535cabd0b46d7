"""Whether the memory of a run stays as it is.

    python -m benchmarks.memory [--steps 5000] [ARGUMENTS OF python -m train ...]

Runs `python -m train`, on the digits unless the arguments say otherwise, looks at the
memory of its process each second, and prints how much of it is resident at the steps,
and how much it grew from step 500 to the last one. Writes
results/memory-DATE-DEVICE.json. Linux.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import record
from train.command_line import parse
from train.data import load_dataset
from train.run_folder import read_metrics

FIRST = 500  # steps, before which memory may grow: programs are compiled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5000)
    options, arguments = parser.parse_known_args()
    config = parse(arguments)
    steps_per_epoch = len(load_dataset(config).train) // config.batch_size
    epochs = -(-options.steps // steps_per_epoch)
    with tempfile.TemporaryDirectory() as folder:
        arguments += ["--epochs", str(epochs), "--run-dir", f"{folder}/run"]
        samples = watch(arguments, Path(folder, "run"))
    at = {step: max(m for s, m in samples if s == step) for step, _ in samples}
    for step in list(at)[:: max(1, len(at) // 20)]:
        print(f"step {step:>6}: {at[step]:>8.1f} MiB")
    before = max(mebibytes for step, mebibytes in at.items() if step <= FIRST)
    growth = max(at.values()) / before - 1
    print(f"growth after step {FIRST}: {growth:.2%}")
    file = record("memory", {"mebibytes": at, "growth": round(growth, 5)})
    print(f"written to {file}")


def watch(arguments: list[str], folder: Path) -> list[tuple[int, float]]:
    """(step, MiB) each second, by the last step that metrics.csv has."""
    samples = []
    command = [sys.executable, "-m", "train", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            rows = read_metrics(folder)
            if rows:
                samples.append((rows[-1]["step"], resident(process.pid)))
            time.sleep(1)
    if process.returncode:
        raise SystemExit(f"the run ended with status {process.returncode}")
    return samples


def resident(pid: int) -> float:
    """MiB of a process that are in memory; 0 when it has just ended."""
    status = Path(f"/proc/{pid}/status").read_text()
    lines = [line.split() for line in status.splitlines() if line.startswith("VmRSS")]
    return int(lines[0][1]) / 1024 if lines else 0.0


if __name__ == "__main__":
    main()
