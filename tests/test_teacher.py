"""A net that learns from another one beside the labels."""

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from made_nets import Tiny

import gpwjax
import train.loop
from train.command_line import parse
from train.config import NO_AUGMENTATION, Config, RunError
from train.loop import fit
from train.presets import DIGITS
from train.process.stop import Stopped, StopRequest
from train.state import Metrics, TrainState
from train.step import StepSettings, train_step
from train.teacher import Teacher, resized

pytestmark = pytest.mark.usefixtures("tiny_runs")
KEY = jax.random.key(0)
SETTINGS = StepSettings.of(Config("drawn", image_size=8, augmentation=NO_AUGMENTATION))
CLASSES = list("0123456789")


def make_net(seed: int, min_channels: int | None) -> tuple[Tiny, dict]:
    model = Tiny(10, min_channels)
    images = jnp.zeros((1, 8, 8, 3))
    return model, jax.jit(model.init, static_argnames="train")(
        jax.random.key(seed), images, train=False
    )


def make_teacher(weight: float, temperature: float, image_size: int = 8) -> Teacher:
    model, variables = make_net(7, None)
    about = {"classes": CLASSES, "image_size": image_size}
    net = gpwjax.Classifier(model, variables, about)
    return Teacher.of(net, weight, temperature)


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 8, 8, 3)).astype(np.uint8)
    return images, rng.integers(0, 10, 16).astype(np.int32)


def step_with(
    teacher: Teacher | None, batch: tuple[np.ndarray, np.ndarray]
) -> tuple[TrainState, jax.Array]:
    model, variables = make_net(1, 16)
    state = TrainState.create(
        apply_fn=model.apply, tx=optax.sgd(1.0), metrics=Metrics.zero(), **variables
    ).replace(step=jnp.zeros((), jnp.int32))
    return train_step(state, *batch, KEY, None, teacher, settings=SETTINGS)


@pytest.mark.parametrize(("weight", "temperature"), [(0.3, 4.0), (1.0, 1.0)])
def test_the_loss_is_hintons(batch, weight, temperature):
    teacher = make_teacher(weight, temperature)
    _, loss = step_with(teacher, batch)
    images = batch[0] / np.float32(255)
    model, variables = make_net(1, 16)
    logits, _ = model.apply(variables, images, train=True, mutable=["batch_stats"])
    taught = teacher.model.apply(teacher.variables, images, train=False)

    def log_softmax(x: jax.Array) -> np.ndarray:
        x = np.asarray(x, np.float64)
        return x - np.log(np.exp(x).sum(1, keepdims=True))

    hard = -log_softmax(logits)[np.arange(16), batch[1]]
    soft = np.exp(log_softmax(taught / temperature))
    soft = -(soft * log_softmax(logits / temperature)).sum(1)
    expected = (1 - weight) * hard + weight * temperature**2 * soft
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)


def test_without_weight_there_is_no_teacher(batch):
    alone, loss = step_with(None, batch)
    taught, same = step_with(make_teacher(0.0, 4.0), batch)
    np.testing.assert_allclose(loss, same, rtol=1e-6)
    chex.assert_trees_all_close(alone.params, taught.params, rtol=1e-5, atol=1e-6)


def test_with_all_weight_the_labels_teach_nothing(batch):
    images, labels = batch
    one, _ = step_with(make_teacher(1.0, 2.0), batch)
    other, _ = step_with(make_teacher(1.0, 2.0), (images, labels[::-1].copy()))
    chex.assert_trees_all_equal(one.params, other.params)


def test_a_teacher_of_another_size_sees_the_same_images():
    images = jnp.asarray(np.random.default_rng(0).random((2, 4, 4, 3), np.float32))
    np.testing.assert_array_equal(resized(images, 8)[:, ::2, 1::2], images)
    halves = images.reshape(2, 2, 2, 2, 2, 3).mean((2, 4))
    assert np.abs(resized(images, 2) - halves).max() < 0.25  # a triangle, not a box
    flat = jnp.full((1, 9, 9, 3), 0.3)
    np.testing.assert_allclose(resized(flat, 4), 0.3, rtol=1e-6)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--teacher-weight", "0.7"], "--teacher-weight must be left out without --te"),
        (["--teacher", "x", "--teacher-weight", "1.5"], "must be from 0 to 1, got 1.5"),
        (["--teacher", "x", "--teacher-temperature", "0"], "must be more than 0"),
    ],
)
def test_a_wrong_setting_is_named(args, message, capsys):
    with pytest.raises(SystemExit):
        parse(args)
    assert message in " ".join(capsys.readouterr().err.split())


def save_teacher(file: Path, classes: list[str], seed: int = 7) -> Path:
    """Of another image size than the student's."""
    _, variables = make_net(seed, None)
    model = gpwjax.create_model("tiny", 10, None)
    gpwjax.save(file, model, variables, classes=classes, image_size=16)
    return file


@pytest.fixture
def config(tmp_path) -> Config:
    return dataclasses.replace(
        DIGITS,
        run_dir=tmp_path / "run",
        model="tiny",
        image_size=8,
        epochs=2,
        batch_size=200,
        teacher=save_teacher(tmp_path / "teacher.safetensors", CLASSES),
    )


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        (CLASSES[::-1], "class 0 is '9' there, '0' here"),
        (CLASSES[:9] + ["x"], "class 9 is 'x' there, '9' here"),
    ],
)
def test_other_classes_are_one_error_before_anything_is_made(config, classes, reason):
    save_teacher(config.teacher, classes)
    with pytest.raises(RunError, match=f"--teacher .* has other classes: {reason}"):
        fit(config, StopRequest())
    assert not config.folder.exists()


def test_a_taught_run_that_was_stopped_ends_with_the_same_bits(config, tmp_path):
    result = fit(config, StopRequest())
    assert 0 <= result["teacher_accuracy"] <= 1
    stop, steps = StopRequest(), iter(range(100))
    with pytest.MonkeyPatch.context() as patch:

        def step(*args, **kwargs):
            stop.signum = signal.SIGTERM if next(steps) == 7 else None
            return train_step(*args, **kwargs)

        patch.setattr(train.loop, "train_step", step)
        again = dataclasses.replace(config, run_dir=tmp_path / "again")
        with pytest.raises(Stopped):
            fit(again, stop)
    other = shutil.copy(config.teacher, tmp_path / "kept")
    save_teacher(config.teacher, CLASSES, seed=8)
    with pytest.raises(RunError, match="holds a run with another teacher: the SHA-256"):
        fit(again, StopRequest())
    shutil.copy(other, config.teacher)
    fit(again, StopRequest())
    ours, theirs = (gpwjax.load(of.folder).variables for of in (config, again))
    chex.assert_trees_all_equal(ours, theirs)
    assert json.loads((again.folder / "config.json").read_text())["teacher"]
