"""JAX as our programs use it: its devices, its cache, its numbers."""

from pathlib import Path

import jax

from gpwjax.compilation import use_compilation_cache

# What a machine has whose JAX should find more than a CPU, by the extra that brings it.
ACCELERATORS = {
    "cuda12": ("an NVIDIA GPU", ("/dev/nvidia0",)),
    "tpu": ("a TPU", ("/dev/accel0", "/dev/vfio/0")),
}


class NoDevicesError(Exception):
    """There are none of the platform that $JAX_PLATFORMS names."""


def start_jax() -> None:
    """Turns on the cache of compiled programs and finds the devices.

    Raises:
      NoDevicesError: it finds none; the message is one line.
    """
    # $JAX_ENABLE_X64 is for other programs: nets and their states are of 32 bits.
    jax.config.update("jax_enable_x64", False)
    use_compilation_cache()
    try:
        jax.devices()
    # An AssertionError where nothing for such a platform is installed.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0] or "nothing for them is installed"
        raise NoDevicesError(
            f"JAX finds no devices of JAX_PLATFORMS={jax.config.jax_platforms}: "
            f"{reason}. Leave that out for those that there are"
        ) from error


def described() -> str:
    """The number and the kind of the devices of all hosts."""
    devices = jax.devices()
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    return f"{len(devices)} device{'s' if len(devices) > 1 else ''} ({kinds})"


def unused_accelerator(root: Path = Path("/")) -> str | None:
    """A warning where the machine has a GPU or TPU and JAX found none; None where there
    is no need, or $JAX_PLATFORMS says so.

    Args:
      root: of the machine's files, for tests.
    """
    if jax.default_backend() != "cpu" or jax.config.jax_platforms:
        return None
    for extra, (what, files) in ACCELERATORS.items():
        if any((root / file.lstrip("/")).exists() for file in files):
            return (
                f"this machine has {what}, but JAX computes on its CPU: pip install "
                f"'gpwjax[{extra}]' brings the JAX for it"
            )
    return None
