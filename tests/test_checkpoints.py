"""What is kept of a run, and what is restored."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from train.checkpoints import Checkpoints
from train.config import RunError
from train.step import Metrics, TrainState

OPTIMIZER = optax.adam(1e-3)
PLACE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def make_state(step: int) -> TrainState:
    """A state whose parameters tell its step."""
    state = TrainState.create(
        apply_fn=None,
        params={"w": jnp.full((3,), step / 7)},
        tx=OPTIMIZER,
        batch_stats={"mean": jnp.full((2,), step * 1.0)},
        metrics=Metrics.zero(),
    )
    return jax.device_put(state.replace(step=jnp.int32(step)), PLACE)


def metrics(accuracy: float, loss: float) -> dict[str, float]:
    return {"val_accuracy": accuracy, "val_loss": loss}


def kept(folder) -> set[int]:
    return {int(entry.name) for entry in (folder / "checkpoints").iterdir()}


def test_a_new_folder_has_nothing_to_go_on_from(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore_latest(make_state(0), PLACE) is None


def test_the_latest_and_the_best_are_kept(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1), metrics(0.5, 1.0))
        checkpoints.save(make_state(2), metrics(0.9, 0.3))
        checkpoints.save(make_state(3), metrics(0.7, 0.2))
        checkpoints.save(make_state(4), metrics(0.8, 0.1))
    assert kept(tmp_path) == {2, 4}
    with Checkpoints(tmp_path) as checkpoints:
        latest = checkpoints.restore_latest(make_state(0), PLACE)
        best, best_metrics = checkpoints.restore_best(latest)
    chex.assert_trees_all_equal(latest, make_state(4))
    chex.assert_trees_all_equal(best, make_state(2))
    assert best_metrics == metrics(0.9, 0.3)


def test_at_equal_accuracy_the_lower_loss_is_better(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step, loss in enumerate([0.3, 0.1, 0.2]):
            checkpoints.save(make_state(step), metrics(0.9, loss))
        best, _ = checkpoints.restore_best(make_state(0))
    assert best.step == 1


def test_one_within_an_epoch_is_kept_until_the_next(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1), metrics(0.5, 1.0))
        checkpoints.save(make_state(2))
        assert kept(tmp_path) == {1, 2}
        assert checkpoints.restore_latest(make_state(0), PLACE).step == 2
        checkpoints.save(make_state(3))
        assert kept(tmp_path) == {1, 3}


def test_a_step_is_not_silently_left_unsaved(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(2))
        with pytest.raises(RunError, match="checkpoint 1"):
            checkpoints.save(make_state(1))
