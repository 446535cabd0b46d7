"""What the steps of a run change: the net, its optimizer and the sums of an epoch."""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from flax.training import train_state


class Metrics(struct.PyTreeNode):
    """Sums over images; they stay on the device until a log line needs them."""

    loss: jax.Array
    correct: jax.Array
    images: jax.Array

    @classmethod
    def zero(cls) -> "Metrics":
        return cls(loss=jnp.zeros(()), correct=jnp.zeros(()), images=jnp.zeros(()))

    def means(self) -> dict[str, float]:
        """Mean loss and share of right answers."""
        sums = jax.device_get(self)
        return {
            "loss": float(sums.loss / sums.images),
            "accuracy": float(sums.correct / sums.images),
        }

    def add(self, losses: jax.Array, correct: jax.Array, weights: Any = 1) -> "Metrics":
        """Adds losses (N,), and whether each answer was right (N,)."""
        weights = jnp.broadcast_to(weights, losses.shape)
        return Metrics(
            loss=self.loss + (losses * weights).sum(),
            correct=self.correct + (correct * weights).sum(),
            images=self.images + weights.sum(),
        )


class TrainState(train_state.TrainState):
    """Parameters, optimizer state and step, and four things more.

    Attributes:
      params: those that are trained.
      batch_stats: running means and variances of batch normalisation, where it is
        trained.
      metrics: of the steps of this epoch so far.
      ema: running mean of `trained`; None: none is kept.
      frozen: the variables that stay as they are.
    """

    batch_stats: Any
    metrics: Metrics
    ema: dict[str, Any] | None = None
    frozen: dict[str, Any] = struct.field(default_factory=dict)

    @property
    def trained(self) -> dict[str, Any]:
        """The variables that the last step changed."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def variables(self) -> dict[str, Any]:
        """Those of the net after the last step."""
        return merged(self.trained, self.frozen)

    @property
    def tested_variables(self) -> dict[str, Any]:
        """What is validated, tested and saved: the running mean where there is one."""
        trained = self.trained if self.ema is None else self.ema
        return merged(trained, self.frozen)


def merged(variables: Mapping, others: Mapping) -> dict[str, Any]:
    """Variables with the parts of others in the place of theirs, or added to them."""
    return {kind: parts | others.get(kind, {}) for kind, parts in variables.items()}


def split(variables: Mapping, names: Collection[str]) -> tuple[dict, dict]:
    """The variables without and of the parts of these names; `merged` joins them.

    With a part goes its batch normalisation: with stem, stem_norm.
    """

    def is_named(part: str) -> bool:
        return part in names or part.removesuffix("_norm") in names

    return tuple(
        {
            kind: {part: x for part, x in parts.items() if is_named(part) == named}
            for kind, parts in variables.items()
        }
        for named in (False, True)
    )
