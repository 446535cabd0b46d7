"""Several hosts that train one net together, each with its share of every batch."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from ..config import Config, RunError
from . import PROGRAM
from .meeting import meet, parse

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30  # of silence, after which a host counts as dead


def connect(config: Config) -> None:
    """Waits for all hosts of `--distributed`; from then on JAX sees all devices.

    The first host alone shows progress and writes files.

    Raises:
      RunError: the cluster is not known, or not all hosts came.
    """
    if config.coordinator is not None:
        parse(config.coordinator)
    settings = (config.coordinator, config.hosts, config.host_id)
    if None not in settings:
        meet(*settings)
    # It would take SIGTERM, which the run itself looks at.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            *settings,
            # All: JAX would take one for each of Slurm's tasks.
            local_device_ids=[] if has_a_node_for_itself() else None,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    # Of many kinds, by what is missing and where.
    except Exception as error:
        raise RunError(
            f"cannot start --distributed: {error} Where the cluster does not say, "
            "--coordinator, --hosts and --host-id must"
        ) from error
    if not is_first():
        logging.getLogger(PROGRAM).setLevel(logging.WARNING)
        os.environ["TQDM_DISABLE"] = "1"
    log.info("%d hosts, %d devices", jax.process_count(), jax.device_count())


def has_a_node_for_itself() -> bool:
    """Whether Slurm started one task on each node, not one for each GPU."""
    tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")  # such as 1(x2) or 8,4
    return re.fullmatch(r"1(\(x[0-9]+\))?", tasks) is not None


def is_first() -> bool:
    """Whether this host is the one that writes files, or the only one."""
    return jax.process_index() == 0


@contextlib.contextmanager
def first_host_first(what: str) -> Iterator[None]:
    """The first host does what is inside, then the others do it."""
    if not is_first():
        multihost_utils.sync_global_devices(what)
    yield
    if is_first():
        multihost_utils.sync_global_devices(what)


def largest(*values: int) -> list[int]:
    """The largest of each value over all hosts, which call this at the same time."""
    if jax.process_count() == 1:
        return list(values)
    everywhere = multihost_utils.process_allgather(np.array(values))
    return everywhere.max(axis=0).tolist()


def gathered(array: jax.Array) -> np.ndarray:
    """All of an array that is spread over the hosts."""
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
