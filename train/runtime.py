"""What the process says."""

import logging
import sys


def start_logging() -> None:
    """Prints what the programs of train/ say, and only warnings of all else."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
    logging.getLogger("train").setLevel(logging.INFO)


def quieten_absl() -> None:
    """TFDS and Orbax say there what only their developers want to know."""
    # Not at the top: the wrong arguments are told before anything large is imported.
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.ERROR)
