"""Results of measurements as JSON, with what they depend on."""

import datetime
import json
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from train.process.commit import commit_of

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow", "torch")


def latest(name: str) -> dict[str, Any]:
    """The newest results of a measurement on this kind of device; {} if there is none.

    Args:
      name: of the measurement: results/NAME-DATE-DEVICE.json.
    """
    files = sorted(RESULTS.glob(f"{name}-????-??-??-{device_slug()}.json"))
    return json.loads(files[-1].read_text()) if files else {}


def record(name: str, measured: dict[str, Any]) -> Path:
    """Writes what was measured, with device, versions and commit; gives the file."""
    about = {
        "device": device_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions(),
        "commit": commit(),
    }
    file = today(name)
    file.write_text(json.dumps(about | measured, indent=2) + "\n")
    return file


def commit() -> str:
    """As `commit_of` what is measured."""
    return commit_of("gpwjax", "train", "benchmarks", ":!benchmarks/results")


def add(name: str, case: str, figures: dict[str, Any]) -> Path:
    """Writes the figures of a case beside the others that were measured today."""
    file = today(name)
    cases = json.loads(file.read_text())["cases"] if file.is_file() else {}
    return record(name, {"cases": cases | {case: figures}})


def today(name: str) -> Path:
    return RESULTS / f"{name}-{datetime.date.today()}-{device_slug()}.json"


def device_slug() -> str:
    return jax.devices()[0].device_kind.replace(" ", "-")


def device_name() -> str:
    """The accelerator's, or the processor's where there is none."""
    kind = jax.devices()[0].device_kind
    file = Path("/proc/cpuinfo")
    if kind != "cpu" or not file.is_file():
        return kind
    found = re.search(r"model name\s*: (.*)", file.read_text())
    return found.group(1) if found else kind


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
