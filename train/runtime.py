"""Settings of the process: its memory, and what it says."""

import logging
import os
import sys

from train.config import RunError


def keep_memory() -> None:
    """Starts the program again with settings of malloc, unless there are some.

    XLA:CPU asks for the memory of a step anew in each step, and glibc would have the
    kernel hand it out page by page: 98 ms a step on the digits instead of 58.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        tunables = (f"glibc.malloc.{name}={value}" for name, value in malloc().items())
        os.environ["GLIBC_TUNABLES"] = ":".join(tunables)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def malloc() -> dict[str, int]:
    """Freed memory stays in one heap of huge pages instead of going back to the kernel,
    but for large blocks: a small one where it was keeps it from being used again, so
    that up to six of them (seen with DenseNet) would be there at a time."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "hugetlb": 1,
        "arena_max": 1,
        "mmap_threshold": memory // 16,
        "trim_threshold": 2**34,
    }


def start_logging() -> None:
    """Prints what the programs of train/ say, and only warnings of all else."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
    logging.getLogger("train").setLevel(logging.INFO)


def start_jax() -> None:
    """As `gpwjax.devices.start_jax`.

    Raises:
      RunError: there are no devices.
    """
    # Not at the top: the wrong arguments are told before anything large is imported.
    from absl import logging as absl_logging

    from gpwjax import devices

    # TFDS and Orbax say there what only their developers want to know.
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        devices.start_jax()
    except devices.NoDevicesError as error:
        raise RunError(str(error)) from error
