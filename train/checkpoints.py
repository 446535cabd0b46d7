"""Checkpoints of a run: the latest, to go on from, and the best, to be tested."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from train.config import RunError
from train.step import TrainState


class Checkpoints:
    """Saves and restores the states of a run, by the number of their step."""

    def __init__(self, folder: Path):
        policies = checkpoint_managers
        self._manager = ocp.CheckpointManager(
            (folder / "checkpoints").absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(1),
                        policies.BestN(
                            n=1,
                            get_metric_fn=quality,
                            keep_checkpoints_without_metrics=False,
                        ),
                    ]
                ),
                # Orbax saves metrics only with best_fn; what is kept, the policy says.
                best_fn=quality,
                # The next step overwrites the arrays that it is given (they are
                # donated), so they must be on disk before it begins.
                enable_async_checkpointing=False,
            ),
        )

    def save(self, state: TrainState, metrics: dict[str, float] | None = None) -> None:
        """Saves a state; `metrics` are those of the validation at an epoch's end.

        Raises:
          RunError: the checkpoint could not be written.
        """
        step = int(state.step)
        try:
            saved = self._manager.save(
                step, args=ocp.args.StandardSave(state), metrics=metrics
            )
        except (OSError, ValueError) as error:
            raise RunError(f"cannot save checkpoint {step}: {error}") from error
        if not saved:
            raise RunError(f"orbax refused to save checkpoint {step}")

    def restore_latest(
        self, state: TrainState, placement: jax.sharding.Sharding
    ) -> TrainState | None:
        """The state to go on from, shaped as `state`; None where there is none."""
        step = self._manager.latest_step()
        return None if step is None else self._restore(step, state, placement)

    def restore_best(self, state: TrainState) -> tuple[TrainState, dict[str, float]]:
        """The state of the best epoch, and the metrics of its validation."""
        best = self._manager.best_step()
        placement = state.step.sharding
        return self._restore(best, state, placement), self._manager.metrics(best)

    def _restore(
        self, step: int, state: TrainState, placement: jax.sharding.Sharding
    ) -> TrainState:
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement), state
        )
        return self._manager.restore(step, args=ocp.args.StandardRestore(target))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()


def quality(metrics: dict[str, float]) -> tuple[float, float]:
    """What the best epoch has most of: validation accuracy; at a draw, least loss."""
    return metrics["val_accuracy"], -metrics["val_loss"]
