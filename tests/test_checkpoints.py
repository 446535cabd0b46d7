"""What is kept of a run, and what is restored."""

import gc
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import train.checkpoints
from train.checkpoints import Checkpoints, read_best
from train.config import RunError
from train.packed import on_host
from train.run_folder import BROKEN
from train.state import Metrics, TrainState

# Orbax forgets some coroutines where a file is broken.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
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


def kept(folder: Path) -> set[int]:
    return {int(entry.name) for entry in (folder / "checkpoints").iterdir()}


LIKE = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
    make_state(0),
)


def test_a_new_folder_has_nothing_to_go_on_from(tmp_path):
    with Checkpoints(tmp_path, LIKE) as checkpoints:
        assert checkpoints.restore_latest() is None


def test_the_latest_and_the_best_are_kept(tmp_path):
    with Checkpoints(tmp_path, LIKE) as checkpoints:
        checkpoints.save(make_state(1), metrics(0.5, 1.0))
        checkpoints.save(make_state(2), metrics(0.9, 0.3))
        checkpoints.save(make_state(3), metrics(0.7, 0.2))
        checkpoints.save(make_state(4), metrics(0.8, 0.1))
    assert kept(tmp_path) == {2, 4}
    with Checkpoints(tmp_path, LIKE) as checkpoints:
        latest = checkpoints.restore_latest()
        best, best_metrics = checkpoints.restore_best()
    chex.assert_trees_all_equal(latest, make_state(4))
    chex.assert_trees_all_equal(best, make_state(2))
    assert best_metrics == metrics(0.9, 0.3)


def test_one_that_a_kill_left_half_deleted_is_not_taken_for_broken(
    tmp_path, monkeypatch
):
    removed = []
    with monkeypatch.context() as patch:
        # The process is killed as soon as it has removed a file.
        patch.setattr(
            "train.checkpoints.shutil.rmtree",
            lambda folder, **_: removed.extend(
                file.unlink() for file in [*folder.rglob("_METADATA")][:1]
            ),
        )
        with Checkpoints(tmp_path, LIKE) as checkpoints:
            for step in (1, 2):
                checkpoints.save(make_state(step), metrics(step / 9, 1.0))
    assert len(removed) == 1
    with Checkpoints(tmp_path, LIKE) as checkpoints:
        chex.assert_trees_all_equal(checkpoints.restore_latest(), make_state(2))
    assert kept(tmp_path) == {2}
    assert not (tmp_path / BROKEN).exists()


def test_at_equal_accuracy_the_lower_loss_is_better(tmp_path):
    with Checkpoints(tmp_path, LIKE) as checkpoints:
        for step, loss in enumerate([0.3, 0.1, 0.2]):
            checkpoints.save(make_state(step), metrics(0.9, loss))
        best, _ = checkpoints.restore_best()
    assert best.step == 1


def test_one_within_an_epoch_is_kept_until_the_next(tmp_path):
    with Checkpoints(tmp_path, LIKE) as checkpoints:
        checkpoints.save(make_state(1), metrics(0.5, 1.0))
        checkpoints.save(make_state(2))
        assert kept(tmp_path) == {1, 2}
        assert checkpoints.restore_latest().step == 2
        checkpoints.save(make_state(3))
        assert kept(tmp_path) == {1, 3}


def test_a_step_is_not_silently_left_unsaved(tmp_path):
    with Checkpoints(tmp_path, LIKE) as checkpoints:
        checkpoints.save(make_state(2))
        with pytest.raises(RunError, match="checkpoint 1"):
            checkpoints.save(make_state(1))


def test_a_checkpoint_of_two_devices_goes_on_on_one_and_back(tmp_path):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    two = NamedSharding(mesh, PartitionSpec())
    for step, (there, here) in enumerate([(two, PLACE), (PLACE, two)], start=1):
        with Checkpoints(tmp_path, jax.device_put(make_state(0), there)) as checkpoints:
            checkpoints.save(jax.device_put(make_state(step), there))
        with Checkpoints(tmp_path, jax.device_put(make_state(0), here)) as checkpoints:
            state = checkpoints.restore_latest()
        chex.assert_trees_all_equal(state, make_state(step))
        assert {x.sharding for x in jax.tree.leaves(state)} == {here}


def test_a_checkpoint_of_older_code_which_has_each_array_by_itself_is_read(tmp_path):
    state, of_epoch = make_state(4), metrics(0.9, 0.2)
    record = {"digest": train.checkpoints.digest(on_host(state), of_epoch)}
    items = ocp.args.Composite(
        state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)
    )
    options = ocp.CheckpointManagerOptions(best_fn=lambda m: m["val_accuracy"])
    folder = (tmp_path / "checkpoints").absolute()
    with ocp.CheckpointManager(folder, options=options) as manager:
        manager.save(4, args=items, metrics=of_epoch)
    with Checkpoints(tmp_path, LIKE) as checkpoints:
        chex.assert_trees_all_equal(checkpoints.restore_latest(), state)
        checkpoints.save(make_state(5), metrics(0.8, 0.3))
        best, best_metrics = checkpoints.restore_best()
    chex.assert_trees_all_equal(best, state)
    assert best_metrics == of_epoch
    assert kept(tmp_path) == {4, 5}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A run folder with the checkpoints 1, the best, and 3, the latest."""
    folder = tmp_path_factory.mktemp("run")
    with Checkpoints(folder, LIKE) as checkpoints:
        checkpoints.save(make_state(1), metrics(0.9, 0.1))
        checkpoints.save(make_state(3), metrics(0.8, 0.3))
    return folder


@pytest.fixture
def run(saved, tmp_path) -> Iterator[Path]:
    """A copy of it to break."""
    yield shutil.copytree(saved, tmp_path / "run")
    gc.collect()  # here, where the forgotten coroutines are no error


def reopened(run: Path) -> int:
    """The step that a run goes on from, whose state must be the one that was saved;
    checks that it can save what follows."""
    with Checkpoints(run, LIKE) as checkpoints:
        latest = checkpoints.restore_latest()
        step = int(latest.step)
        chex.assert_trees_all_equal(latest, make_state(step))
        best, best_metrics = checkpoints.restore_best()
        chex.assert_trees_all_equal(best, make_state(1))
        assert best_metrics == metrics(0.9, 0.1)
        checkpoints.save(make_state(step + 1), metrics(0.7, 0.4))
    return step


def flip(file: Path, at: float) -> None:
    """Changes a byte, the first for 0, the last for 1."""
    content = bytearray(file.read_bytes())
    content[round(at * (len(content) - 1))] ^= 0x55
    file.write_bytes(content)


def cut(file: Path, share: float) -> None:
    os.truncate(file, int(file.stat().st_size * share))


# These hold no part of the state: Orbax' notes for itself, what it merged into other
# files, and where it finds no array_metadatas it goes without.
HARMLESS = ("_CHECKPOINT_METADATA", "commit_success", "_sharding", "ocdbt.process_0")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(partial(flip, at=0), id="first byte", marks=pytest.mark.slow),
        pytest.param(partial(flip, at=0.5), id="middle byte"),
        pytest.param(partial(flip, at=1), id="last byte", marks=pytest.mark.slow),
        pytest.param(partial(cut, share=0.5), id="cut"),
        pytest.param(partial(cut, share=0), id="emptied", marks=pytest.mark.slow),
        pytest.param(Path.unlink, id="deleted"),
    ],
)
def test_damage_of_any_file_is_found_and_nothing_wrong_restored(
    run, tmp_path, damage, caplog
):
    files = [f.relative_to(run) for f in (run / "checkpoints" / "3").rglob("*")]
    files = [file for file in files if (run / file).is_file()]
    assert len(files) > 10
    found = set()
    for number, file in enumerate(files):
        damaged = shutil.copytree(run, tmp_path / str(number))
        damage(damaged / file)
        caplog.clear()
        if reopened(damaged) == 1:
            found.add(file)
            assert "left out checkpoint 3, which" in caplog.text
            assert (damaged / BROKEN / "3").is_dir()
    missed = {str(file) for file in set(files) - found}
    if damage is Path.unlink:
        missed -= {file for file in missed if "array_metadatas" in file}
    assert all(any(part in file for part in HARMLESS) for file in missed), missed


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch], ids=["folder", "file"])
def test_an_empty_step_is_left_out(run, make, caplog):
    make(run / "checkpoints" / "7")
    assert reopened(run) == 3
    assert "left out checkpoint 7" in caplog.text


def test_where_all_are_broken_the_run_begins_again(run, caplog):
    for step in (1, 3):
        (file,) = (run / "checkpoints" / str(step) / "arrays" / "d").iterdir()
        flip(file, 0.5)
    with Checkpoints(run, LIKE) as checkpoints:
        assert checkpoints.restore_latest() is None
    assert {entry.name for entry in (run / BROKEN).iterdir()} == {"1", "3"}
    assert "left out checkpoint 1" in caplog.text
    assert "left out checkpoint 3" in caplog.text


def test_a_second_broken_one_of_the_same_step_does_not_replace_the_first(run):
    for _ in range(2):
        (file,) = (run / "checkpoints" / "3" / "arrays" / "d").iterdir()
        flip(file, 0.5)
        with Checkpoints(run, LIKE) as checkpoints:
            assert checkpoints.restore_latest().step == 1
            checkpoints.save(make_state(3), metrics(0.8, 0.3))
    assert {entry.name for entry in (run / BROKEN).iterdir()} == {"3", "3-1"}


def test_another_state_is_not_restored(run, caplog):
    other = LIKE.replace(params={"w": jax.ShapeDtypeStruct((4,), jnp.float32)})
    with Checkpoints(run, other) as checkpoints:
        assert checkpoints.restore_latest() is None
    assert "left out checkpoint 3" in caplog.text


def test_broken_after_the_start_the_best_is_one_clear_error(run):
    with Checkpoints(run, LIKE) as checkpoints:
        checkpoints.save(make_state(5), metrics(1.0, 0.1))
        (file,) = (run / "checkpoints" / "5" / "arrays" / "d").iterdir()
        flip(file, 0.5)
        with pytest.raises(RunError, match="checkpoint 5, the best one, cannot be rea"):
            checkpoints.restore_best()


def test_each_checkpoint_is_read_once(run, monkeypatch):
    found, once = [], train.checkpoints.read

    def counted(folder: Path, like: TrainState) -> train.checkpoints.Saved:
        found.append(int(folder.name))
        return once(folder, like)

    monkeypatch.setattr(train.checkpoints, "read", counted)
    with Checkpoints(run, LIKE) as checkpoints:
        latest, (best, _) = checkpoints.restore_latest(), checkpoints.restore_best()
    assert found == [3, 1] == [latest.step, best.step]


def test_the_best_of_a_run_that_goes_on_is_read_and_nothing_moved(run):
    best, _ = read_best(run, LIKE, first_best=1)
    assert best.step == 1
    (file,) = (run / "checkpoints" / "1" / "arrays" / "d").iterdir()
    flip(file, 0.5)
    best, _ = read_best(run, LIKE, first_best=1)
    assert best.step == 3
    assert kept(run) == {1, 3}
    with pytest.raises(RunError, match="has no net yet: no epoch of it is finished"):
        read_best(run / "checkpoints", LIKE, first_best=1)


def test_without_its_run_folder_nothing_is_saved(run):
    with Checkpoints(run, LIKE) as checkpoints:
        shutil.rmtree(run)
        with pytest.raises(RunError, match="run folder .* is gone"):
            checkpoints.save(make_state(5))
        assert not run.exists()
