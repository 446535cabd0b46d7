"""The loop from inside."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_nets import Fragile, Tiny
from made_runs import DIGITS
from PIL import Image

import train.loop
import train.run
from gpwjax.models import MODELS
from train.command_line import parse
from train.config import NO_AUGMENTATION, RunError
from train.evaluate.tables import read_table
from train.loop import fit
from train.origin import make_run_folder
from train.process.stop import Stopped, StopRequest
from train.run_folder import read_metrics
from train.step import train_step

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.usefixtures("tiny_runs")


@pytest.fixture
def config(tmp_path):
    """A run of two epochs of a small net."""
    return dataclasses.replace(
        DIGITS, run_dir=tmp_path / "run", model="tiny", epochs=2, batch_size=64
    )


@pytest.fixture
def stop():
    return StopRequest()


def test_a_run_traces_the_train_step_once(config, stop, monkeypatch):
    chex.clear_trace_counter()
    traced_once = jax.jit(
        chex.assert_max_traces(train_step.__wrapped__, n=1),
        donate_argnames="state",
        static_argnames="settings",
    )
    monkeypatch.setattr(train.loop, "train_step", traced_once)
    result = fit(config, stop)
    assert result["device_count"] == 2
    assert result["test_accuracy"] > 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "mobile"}, "model must be one of .*mobilenet, .*got 'mobile'"),
        ({"model": "mobilenet", "image_size": 2}, "images must be at least 4x4 pixels"),
        ({"batch_size": 15}, "--batch-size must be a multiple of the 2 devices"),
        ({"batch_size": 2000}, "--batch-size must be at most the 1258 training"),
    ],
)
def test_what_cannot_run_leaves_no_folder(config, stop, settings, message):
    with pytest.raises(RunError, match=message):
        fit(dataclasses.replace(config, **settings), stop)
    assert not config.folder.exists()


@pytest.fixture
def with_a_black_image(tmp_path, config, monkeypatch):
    """A run on a folder of bright images and a black one, of a net that it breaks."""
    monkeypatch.setitem(MODELS, "fragile", Fragile)
    for split, count in {"train": 32, "val": 8, "test": 8}.items():
        for name in ("a", "b"):
            folder = tmp_path / "bright" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                black = (split, name, number) == ("train", "b", 20)
                color = (0, 0, 0) if black else (200, 200, number)
                image = Image.new("RGB", (8, 8), color)
                image.save(folder / f"{number}.png")
    return dataclasses.replace(
        config,
        model="fragile",
        data=str(tmp_path / "bright"),
        batch_size=16,
        augmentation=NO_AUGMENTATION,
    )


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_images(
    with_a_black_image, stop
):
    config = with_a_black_image
    with pytest.raises(RunError) as error:
        fit(config, stop)
    found = re.search(
        r"the loss of step (\d), or its gradient, is not finite: "
        r"learning rate 0\.00\d*, images (.*?)\. ",
        str(error.value),
    )
    assert 1 <= int(found[1]) <= 4
    names = found[2].split(", ")
    assert len(names) == 16
    assert "train/b/20.png" in names
    assert not any((config.folder / "checkpoints").iterdir())


def test_such_a_batch_can_be_skipped_in_the_same_folder(
    with_a_black_image, stop, caplog
):
    config = with_a_black_image
    with pytest.raises(RunError, match="--on-nan skip-batch goes on"):
        fit(config, stop)
    result = fit(dataclasses.replace(config, on_nan="skip-batch"), stop)
    assert caplog.text.count("skipped a batch: the loss of step") == 2  # an epoch's one
    rows = read_metrics(config.folder)
    assert [row["step"] for row in rows] == [4, 8]
    losses = [row[name] for row in rows for name in ("train_loss", "val_loss")]
    assert np.isfinite([*losses, result["test_loss"]]).all()


class Blind(Tiny):
    """Answers to a black image with no numbers."""

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        is_black = images.max((1, 2, 3)) == 0
        logits = super().__call__(images, train=train)
        return jnp.where(is_black[:, None], jnp.nan, logits)


def test_a_test_loss_that_is_not_finite_is_no_result(
    with_a_black_image, stop, monkeypatch
):
    monkeypatch.setitem(MODELS, "fragile", Blind)
    bright, black = (Path(with_a_black_image.data, name) for name in ("train", "test"))
    shutil.copy(bright / "b" / "19.png", bright / "b" / "20.png")
    Image.new("RGB", (8, 8)).save(black / "a" / "5.png")
    config = dataclasses.replace(with_a_black_image, epochs=1)
    with pytest.raises(RunError, match=r"net of epoch 1, .* that are not finite"):
        fit(config, stop)
    assert not (config.folder / "result.json").exists()
    assert not (config.folder / "model.safetensors").exists()


def test_an_epoch_of_skipped_batches_is_an_error(with_a_black_image, stop):
    config = dataclasses.replace(with_a_black_image, batch_size=64, on_nan="skip-batch")
    with pytest.raises(RunError, match="all batches of epoch 1 were skipped"):
        fit(config, stop)


def test_the_last_good_checkpoint_is_kept(config, stop, monkeypatch):
    """A rate that grows in the second epoch until the loss is not finite."""
    rates = [*[1e-3] * 19, *[1e30] * 19]
    monkeypatch.setattr(
        train.run, "make_schedule", lambda *_: lambda step: jnp.array(rates)[step]
    )
    with pytest.raises(RunError, match="is not finite"):
        fit(config, stop)
    assert [f.name for f in (config.folder / "checkpoints").iterdir()] == ["19"]


def test_a_second_process_is_refused(config, stop):
    make_run_folder(config)
    program = "import sys, pathlib, train.origin as r\n"
    program += "with r.locked(pathlib.Path(sys.argv[1])): print('has it'); input()"
    command = [sys.executable, "-c", program, str(config.folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, cwd=ROOT) as other:
        other.stdout.readline()
        with pytest.raises(RunError, match="in use by another process"):
            fit(config, stop)
        other.kill()
    assert fit(config, stop)["test_images"] == 359


def test_other_data_are_refused_naming_both_digests(with_a_black_image, stop):
    config = dataclasses.replace(with_a_black_image, model="tiny")
    fit(config, stop)
    (config.folder / "result.json").unlink()
    image = next((Path(config.data) / "test" / "a").iterdir())
    Image.new("RGB", (8, 8), (9, 9, 9)).save(image)
    with pytest.raises(RunError, match="other data: .* was [0-9a-f]{64}, now [0-9a-f]"):
        fit(config, stop)


@pytest.fixture
def on_pets(tmp_path, config, monkeypatch):
    """A finished run on a folder, named by a relative path."""
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(20):
            image = Image.new("RGB", (8, 8), (number, 0, ord(name[0])))
            image.save(tmp_path / "pets" / name / f"{number}.png")
    return dataclasses.replace(config, data="pets", batch_size=8, epochs=1)


def test_the_same_data_by_another_path_go_on(
    on_pets, tmp_path, stop, monkeypatch, caplog
):
    caplog.set_level("INFO", "train")
    result = fit(on_pets, stop)
    again = [dataclasses.replace(on_pets, data=d) for d in ("pets/", "./pets")]
    (tmp_path / "other").mkdir()
    for config in [*again, dataclasses.replace(on_pets, data=f"{tmp_path}/pets")]:
        assert fit(config, stop) == result
    monkeypatch.chdir(tmp_path / "other")
    moved = dataclasses.replace(on_pets, data="../pets")
    assert fit(moved, stop) == result
    (on_pets.folder / "result.json").unlink()
    caplog.clear()
    fit(moved, stop)
    assert "going on from step 3" in caplog.text
    assert json.loads((on_pets.folder / "config.json").read_text())["data"] == "pets"


@pytest.mark.parametrize("finished", [True, False])
def test_other_data_of_the_same_name_are_refused(
    on_pets, tmp_path, stop, monkeypatch, finished
):
    fit(on_pets, stop)
    if not finished:
        (on_pets.folder / "result.json").unlink()
    other = tmp_path / "other"
    shutil.copytree("pets", other / "pets")
    Image.new("RGB", (8, 8)).save(other / "pets" / "cat" / "0.png")
    settings = (on_pets.folder / "config.json").read_text()
    for data in (str(other / "pets"), "other/pets"):
        with pytest.raises(RunError, match="other data: the SHA-256 of the images of "):
            fit(dataclasses.replace(on_pets, data=data), stop)
    monkeypatch.chdir(other)
    with pytest.raises(RunError, match="other data"):
        fit(on_pets, stop)
    with pytest.raises(RunError, match="--data was pets, now digits"):
        fit(dataclasses.replace(on_pets, data="digits"), stop)
    assert (on_pets.folder / "config.json").read_text() == settings


def test_other_code_is_warned_of(config, stop, caplog):
    fit(config, stop)
    (config.folder / "result.json").unlink()
    file = config.folder / "origin.json"
    origin = json.loads(file.read_text())
    origin["code"], origin["versions"]["jax"] = "0123", "0.1"
    file.write_text(json.dumps(origin))
    fit(config, stop)
    assert "the code of gpwjax and train changed from 0123 to" in caplog.text
    assert f"jax changed from 0.1 to {jax.__version__}" in caplog.text


@pytest.fixture
def uneven(tmp_path, config):
    """A run on a folder of 60 dark, 12 grey and 6 bright pictures."""
    rng = np.random.default_rng(0)
    for value, (name, count) in enumerate({"dark": 60, "grey": 12, "light": 6}.items()):
        (tmp_path / "uneven" / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.normal(60 + 60 * value, 60, (8, 8, 3)).clip(0, 255)
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(tmp_path / "uneven" / name / f"{number}.png")
    return dataclasses.replace(
        config, data=str(tmp_path / "uneven"), batch_size=8, epochs=4
    )


def test_uneven_classes_are_named_with_what_helps(uneven, stop, caplog):
    result = fit(uneven, stop)
    assert "--class-weights balanced" in caplog.text
    assert "class_weights" not in result
    rows = read_table(uneven.folder / "classes.csv")
    recalls = {row["class"]: float(row["recall"]) for row in rows}
    assert result["balanced_accuracy"] == pytest.approx(np.mean([*recalls.values()]))
    assert result["lowest_recall"].items() <= recalls.items()


def test_balanced_weights_are_shown_and_each_class_counts_the_same(
    uneven, stop, caplog
):
    caplog.set_level("INFO")
    result = fit(dataclasses.replace(uneven, class_weights="balanced"), stop)
    counts = np.array([42, 8, 4])  # of the training images
    expected = dict(zip(("dark", "grey", "light"), 54 / (3 * counts), strict=True))
    assert result["class_weights"] == pytest.approx(expected, rel=1e-5)
    assert "weights in the loss: dark 0.43, grey 2.25, light 4.50" in caplog.text
    assert "--class-weights" not in caplog.text


def test_patience_ends_a_run_in_the_same_epoch_after_a_stop(uneven, stop):
    settings = {"patience": 3, "epochs": 60, "lr": 0.03}
    whole = dataclasses.replace(uneven, **settings)
    result = fit(whole, stop)
    rows = read_metrics(whole.folder)
    assert len(rows) == result["best_epoch"] + 3 < 60
    again = dataclasses.replace(whole, run_dir=whole.folder.with_name("again"))
    stop.signum = signal.SIGTERM
    for _ in range(2):
        with pytest.raises(Stopped):
            fit(again, stop)
    stop.signum = None
    assert fit(again, stop)["best_epoch"] == result["best_epoch"]
    names = ("model.safetensors", "predictions.csv")
    for name in names:
        assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_what_the_data_set_settles_is_written_down_and_goes_on(
    uneven, stop, caplog, monkeypatch
):
    caplog.set_level("INFO")
    config = dataclasses.replace(
        parse(["--data", uneven.data, "--model", "tiny", "--epochs", "2"]),
        run_dir=uneven.folder,
    )
    fit(config, stop)
    assert "recipe own: 2 epochs in batches of 8" in caplog.text
    settings = json.loads((config.folder / "config.json").read_text())
    assert settings["image_size"] == settings["batch_size"] == 8
    assert settings["small_images"] is True
    (config.folder / "result.json").unlink()
    fit(config, stop)  # the same command
    fit(dataclasses.replace(config, image_size=8), stop)
    with pytest.raises(RunError, match="--image-size was 8, now 16"):
        fit(dataclasses.replace(config, image_size=16), stop)


def test_a_validation_that_is_never_finite_has_no_best_epoch(config, stop, monkeypatch):
    validate = train.loop.validate

    def broken(*args):
        return validate(*args) | {"loss": float("nan")}

    monkeypatch.setattr(train.loop, "validate", broken)
    with pytest.raises(RunError, match="in no epoch .* is finite"):
        fit(config, stop)
    assert not (config.folder / "result.json").exists()
