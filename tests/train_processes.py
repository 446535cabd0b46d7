"""The training program in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent

Start = Callable[..., subprocess.Popen]


def environment(cache: Path, devices: int = 1) -> dict[str, str]:
    """Of a process that imports `train` and the modules of the tests."""
    paths = os.pathsep.join(map(str, (HERE.parent, HERE)))
    return os.environ | {
        "PYTHONPATH": paths,
        "XDG_CACHE_HOME": str(cache),
        "XLA_FLAGS": xla_flags(devices),
    }


def xla_flags(devices: int) -> str:
    """So many devices of a CPU, and machine code that is quick to compile, since most
    of the tests' time is compilation."""
    flags = [f"--xla_force_host_platform_device_count={devices}"]
    flags += ["--xla_backend_optimization_level=0"]
    if version("jaxlib").startswith("0.10."):
        # In half the time. On no other version: JAX does not start with a flag that it
        # does not know, and one should run the machine code that users have.
        flags += ["--xla_cpu_use_fusion_emitters=false"]
    return " ".join(flags)


def starter(program: Sequence[object], env: Mapping[str, str]) -> Start:
    """What starts a program in the checkout, with more arguments."""

    def start(*args: object) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, *map(str, (*program, *args))],
            cwd=HERE.parent,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def finish(process: subprocess.Popen, status: int = 0) -> str:
    """The output of a process that ends with this status."""
    output, _ = process.communicate()
    assert process.returncode == status, output
    return output


def wait_for(process: subprocess.Popen, text: str) -> None:
    """Reads the output up to a line that holds `text`."""
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the program ended without printing {text!r}")


def assert_same_end(folder: Path, whole: Path) -> None:
    """Bit for bit the same net and pictures, and the same metrics but for their
    clocks."""
    pictures = ("curves.png", "confusion.png", "heatmaps.png")
    for name in ("model.safetensors", *pictures):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert (folder / "report.html").is_file()
    rows, expected = (
        [line.rsplit(",", 2)[0] for line in (f / "metrics.csv").read_text().split()]
        for f in (folder, whole)
    )
    assert rows == expected
