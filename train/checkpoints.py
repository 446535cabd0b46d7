"""Checkpoints of a run: the latest, to go on from, and the best, to be tested."""

import contextlib
import hashlib
import json
import logging
import shutil
from functools import partial
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from .config import RunError
from .packed import on_host, packed, placed, unpacked
from .process.hosts import first_host_first, is_first
from .run_folder import BROKEN, CHECKPOINTS
from .state import TrainState
from .validation import WORST, quality

log = logging.getLogger(__name__)

DELETED = "deleted"  # of the checkpoints: what a kill may leave half
ARRAYS, RECORD, METRICS = "arrays", "record", "metrics"  # what a checkpoint has
STATE = "state"  # in place of ARRAYS, in those of older code: each array by itself


Saved = tuple[TrainState, dict[str, float] | None]  # a state and its validation


class BrokenCheckpointError(Exception):
    """A checkpoint is not what was saved."""


class Checkpoints:
    """Saves and restores the states of a run, by the number of their step.

    With a state the digest of all its arrays and of its metrics is saved. What is
    broken is found at the start and moved out of the way, and its steps are taken
    again; nothing is deleted before a newer or better one is whole.

    Args:
      folder: that of the run.
      like: a state as it will be restored: shapes, dtypes and shardings.
      first_best: number of the first epoch that may be the best one.
    """

    def __init__(self, folder: Path, like: TrainState, first_best: int = 1):
        self._quality = partial(quality, first=first_best)
        self._run_folder, self._like = folder, like
        self._sound: dict[int, Saved] = {}  # as they were read at the start
        self._folder = (folder / CHECKPOINTS).absolute()
        self._remove_deleted()
        self._set_broken_aside()
        policies = checkpoint_managers
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(1),
                        policies.BestN(
                            n=1,
                            get_metric_fn=self._quality,
                            keep_checkpoints_without_metrics=False,
                        ),
                    ]
                ),
                # Else one that a kill left half deleted would be a broken one.
                todelete_subdir=DELETED,
                # Orbax saves metrics only with best_fn; what is kept, the policy says.
                best_fn=self._quality,
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
        if not self._run_folder.is_dir():
            raise RunError(
                f"cannot save checkpoint {step}: run folder {self._run_folder} is gone"
            )
        state = on_host(state)
        items = {
            ARRAYS: ocp.args.StandardSave(packed(state)),
            RECORD: ocp.args.JsonSave({"digest": digest(state, metrics)}),
        }
        try:
            saved = self._manager.save(
                step, args=ocp.args.Composite(**items), metrics=metrics
            )
        except (OSError, ValueError) as error:
            raise RunError(f"cannot save checkpoint {step}: {error}") from error
        if not saved:
            raise RunError(f"orbax refused to save checkpoint {step}")
        self._remove_deleted()

    def restore_latest(self) -> TrainState | None:
        """The state to go on from; None where there is none."""
        step = self._manager.latest_step()
        return None if step is None else self._read(step)[0]

    def restore_best(self) -> tuple[TrainState, dict[str, float]]:
        """The state of the best epoch, and the metrics of its validation.

        Raises:
          RunError: it is broken since this began.
        """
        best = self._manager.best_step()
        try:
            state, metrics = self._read(best)
        except BrokenCheckpointError as error:
            raise RunError(f"checkpoint {best}, the best one, {error}") from error
        if self._quality(metrics) == WORST:
            raise RunError(
                "in no epoch the loss of the validation images is finite, so there is "
                "no best one: try a smaller --lr, with another --run-dir"
            )
        return state, metrics

    def _read(self, step: int) -> Saved:
        """A checkpoint, from the disk once: the caller owns its arrays."""
        return self._sound.pop(step, None) or read(self._folder / str(step), self._like)

    def _remove_deleted(self) -> None:
        """Removes what Orbax has deleted by giving it another place."""
        if is_first():
            shutil.rmtree(self._folder / DELETED, ignore_errors=True)

    def _set_broken_aside(self) -> None:
        """Moves the checkpoints that are not sound out of Orbax's sight."""
        if not self._folder.is_dir():
            return
        for step in steps_in(self._folder):
            try:
                self._sound[int(step.name)] = read(step, self._like)
            except BrokenCheckpointError as error:
                log.warning("left out checkpoint %s, which %s", step.name, error)
                multihost_utils.sync_global_devices("all hosts have read it")
                with first_host_first("move a broken checkpoint"):
                    if is_first():
                        aside = free_name(self._run_folder / BROKEN, step.name)
                        aside.parent.mkdir(exist_ok=True)
                        step.rename(aside)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()


def steps_in(folder: Path) -> list[Path]:
    """The checkpoints in their folder, the latest first."""
    steps = [entry for entry in folder.iterdir() if entry.name.isdecimal()]
    return sorted(steps, key=lambda step: int(step.name), reverse=True)


def read_best(folder: Path, like: TrainState, first_best: int) -> Saved:
    """The best checkpoint of a run that may go on meanwhile; what is broken is left
    where it is. Arguments as of `Checkpoints`.

    Raises:
      RunError: no epoch is finished, or none has a checkpoint that can be read.
    """
    found = []
    if (folder / CHECKPOINTS).is_dir():
        for step in steps_in((folder / CHECKPOINTS).absolute()):
            with contextlib.suppress(BrokenCheckpointError):
                state, metrics = read(step, like)
                if metrics is not None and np.isfinite(metrics["val_loss"]):
                    found.append((state, metrics))
    if not found:
        raise RunError(
            f"the run in {folder} has no net yet: no epoch of it is finished and has a "
            "checkpoint that can be read"
        )
    return max(found, key=lambda saved: quality(saved[1], first_best))


def read(folder: Path, like: TrainState) -> Saved:
    """The state of a checkpoint and its metrics, if it has some.

    Args:
      folder: of the checkpoint.
      like: shapes, dtypes and shardings of the state.

    Raises:
      BrokenCheckpointError: it cannot be read, or is not what was saved.
    """
    try:
        saved = restored(folder, like)
        is_old = STATE in saved
        state = on_host(saved[STATE]) if is_old else unpacked(saved[ARRAYS], like)
    except BrokenCheckpointError:
        raise
    # What a broken file makes Orbax raise is of any kind.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BrokenCheckpointError(f"cannot be read: {reason}") from error
    metrics = saved.get(METRICS)
    if saved[RECORD] != {"digest": digest(state, metrics)}:
        raise BrokenCheckpointError("is not what was saved: its digest differs")
    return placed(state, like), metrics


def restored(folder: Path, like: TrainState) -> ocp.args.Composite:
    """What Orbax reads of a checkpoint. Raises BrokenCheckpointError where a part is
    missing."""
    entries = {entry.name for entry in folder.iterdir()}
    whole = STATE if STATE in entries else ARRAYS
    if missing := {whole, RECORD} - entries:
        raise BrokenCheckpointError(f"lacks its {' and its '.join(sorted(missing))}")
    items = {
        whole: ocp.args.StandardRestore(like if whole == STATE else None),
        RECORD: ocp.args.JsonRestore(),
    }
    if METRICS in entries:
        items[METRICS] = ocp.args.JsonRestore()
    handler = ocp.CompositeCheckpointHandler(
        whole,
        RECORD,
        # As the manager names the file.
        **{METRICS: ocp.JsonCheckpointHandler(filename=METRICS)},
    )
    with ocp.Checkpointer(handler) as checkpointer:
        return checkpointer.restore(folder, ocp.args.Composite(**items))


def digest(state: TrainState, metrics: dict[str, float] | None) -> str:
    """SHA-256 of the metrics, and of names, shapes, dtypes and bytes of all arrays of a
    state on the host."""
    sha = hashlib.sha256(json.dumps(metrics, sort_keys=True).encode())
    for path, array in jax.tree_util.tree_leaves_with_path(state):
        name = jax.tree_util.keystr(path)
        sha.update(f"{name} {array.shape} {array.dtype}\n".encode())
        sha.update(np.ascontiguousarray(array))
    return sha.hexdigest()


def free_name(folder: Path, name: str) -> Path:
    """A path in the folder that does not exist: of that name, or with a number."""
    path, number = folder / name, 1
    while path.exists():
        path, number = folder / f"{name}-{number}", number + 1
    return path
