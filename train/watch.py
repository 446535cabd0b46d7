"""Looks at the loss of each step, for one that is not finite."""

import collections
import logging
import math

import jax
import numpy as np

from .batches import STEPS_AHEAD
from .config import RunError
from .run import Run
from .tensorboard import Events

log = logging.getLogger(__name__)


class LossWatch:
    """Takes the losses of a run's steps and looks at them a little later, when the
    device has them."""

    def __init__(self, run: Run, events: Events):
        self._run = run
        self._events = events
        self._pending: collections.deque = collections.deque()

    def add(self, step: int, indices: np.ndarray, loss: jax.Array) -> float | None:
        """Takes the loss of a step and of its images; gives an earlier one.

        Args:
          step: counted from 1.
          indices: of the step's images.
          loss: of its batch.

        Raises:
          RunError: an earlier loss is not finite.
        """
        self._pending.append((step, indices, loss))
        return self._look() if len(self._pending) > STEPS_AHEAD else None

    def finish(self) -> None:
        """Looks at all that it has taken.

        Raises:
          RunError: one is not finite.
        """
        while self._pending:
            self._look()

    def _look(self) -> float:
        step, indices, loss = self._pending.popleft()
        loss = float(loss)
        self._events.loss(step, loss)
        if not math.isfinite(loss):
            self._report(step, indices)
        return loss

    def _report(self, step: int, indices: np.ndarray) -> None:
        """Raises RunError, or warns of a batch that was skipped."""
        config, describe = self._run.config, self._run.dataset.describe
        names = ", ".join(describe(int(index)) for index in indices)
        what = (
            f"the loss of step {step}, or its gradient, is not finite: learning rate "
            f"{float(self._run.schedule(step - 1)):.3g}, images {names}"
        )
        if config.on_nan == "skip-batch":
            log.warning("skipped a batch: %s", what)
            return
        raise RunError(
            f"{what}. The same command with --on-nan skip-batch goes on without such "
            f"batches; or try a smaller --lr than {config.lr}, with another --run-dir"
        )
