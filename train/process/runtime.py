"""What the process says."""

import logging
import sys

from ..config import RunError
from . import PROGRAM

log = logging.getLogger(__name__)


def start_logging() -> None:
    """Prints what the programs of train/ say, and only warnings of all else."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
    logging.getLogger(PROGRAM).setLevel(logging.INFO)


def start_jax() -> str:
    """As `gpwjax.devices.start_jax`; warns of devices that it does not use.

    Returns:
      The number and the kind of the devices.

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
    if unused := devices.unused_accelerator():
        log.warning(unused)
    return devices.described()
