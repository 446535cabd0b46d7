"""Results of measurements as JSON, with what they depend on."""

import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")


def result_file(name: str) -> Path:
    """The JSON file of a measurement on this device."""
    device = jax.devices()[0].device_kind.replace(" ", "-")
    return RESULTS / f"{name}-{device}.json"


def record(name: str, measured: dict[str, Any]) -> Path:
    """Writes what was measured, with device, versions and commit; gives the file."""
    # It ends in -dirty where what was measured is not what was committed.
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False)
    about = {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "commit": commit.stdout.strip(),
    }
    file = result_file(name)
    file.write_text(json.dumps(about | measured, indent=2) + "\n")
    return file
