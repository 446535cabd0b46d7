"""Runs that older code began, and runs that are not finished, go on and are of use."""

import dataclasses
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

import gpwjax
import train.evaluate.__main__
import train.evaluate.picture
import train.evaluate.testing
import train.loop
from gpwjax import __main__ as program
from train.checkpoints import Checkpoints
from train.command_line import GROUPS, parse_run
from train.config import Augmentation, Config, RunError
from train.data import load_dataset
from train.loop import fit
from train.nets import load_net
from train.origin import check_run_folder
from train.presets import DIGITS
from train.process.stop import Stopped, StopRequest
from train.run_folder import read_config
from train.start import expected_state, run_of
from train.step import eval_step

# What version 0.1.0 wrote for its digits, less what it had in common with Config.
OLD = {
    **{"data": "digits", "image_size": 8, "small_images": True, "epochs": 4},
    **{"batch_size": 32, "optimizer": "adam", "cycle_epochs": 48},
    **{"batch_norm_momentum": 0.95, "augmentation": {"flip": False, "rotation": 15}},
}


@pytest.fixture
def old(tmp_path) -> Path:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(OLD))
    return folder


def test_each_setting_is_under_one_heading_of_the_help():
    names = [field.name for field in dataclasses.fields(Config)]
    names.remove("augmentation")
    names += [field.name for field in dataclasses.fields(Augmentation)]
    listed = [name for group in GROUPS.values() for name in group]
    assert sorted(listed) == sorted(names)


def test_what_is_left_out_is_as_the_run_has_it(old):
    config = parse_run(["--run-dir", str(old)])
    assert config == dataclasses.replace(read_config(old), run_dir=old)
    assert (config.optimizer, config.epochs, config.lr) == ("adam", 4, Config.lr)
    assert config.ema == Config.ema != DIGITS.ema  # a setting of newer recipes
    assert check_run_folder(config) == config


def test_what_is_given_and_differs_is_another_configuration(old):
    config = parse_run(["--run-dir", str(old), "--epochs", "9", "--rotation", "15"])
    with pytest.raises(RunError, match=r"\(--epochs was 4, now 9\)"):
        check_run_folder(config)


def test_another_recipe_or_preset_is_another_configuration(old):
    for given in (["--recipe", "modern"], ["--preset", "cifar10-mobilenet-16ch"]):
        config = parse_run(["--run-dir", str(old), *given])
        with pytest.raises(RunError, match="another configuration"):
            check_run_folder(config)


def test_what_is_no_setting_of_the_result_may_change(old):
    args = ["--on-nan", "skip-batch", "--tensorboard"]
    config = parse_run(["--run-dir", str(old), *args])
    assert config.on_nan == "skip-batch"
    check_run_folder(config)


def test_the_data_are_found_where_the_run_had_them(old, tmp_path):
    origin = {"data": "d", "place": str(tmp_path / "pictures"), "versions": {}}
    (old / "origin.json").write_text(json.dumps(origin))
    assert parse_run(["--run-dir", str(old)]).data == str(tmp_path / "pictures")
    moved = parse_run(["--run-dir", str(old), "--data", "elsewhere"])
    assert moved.data == "elsewhere"


def test_each_of_several_seeds_has_its_own(tmp_path):
    (tmp_path / "seed3").mkdir()
    (tmp_path / "seed3" / "config.json").write_text(json.dumps(OLD | {"seed": 3}))
    args = ["--run-dir", str(tmp_path), "--seed", "3", "--seeds", "2"]
    config = parse_run(args)
    assert (config.seed, config.seeds, config.epochs) == (3, 2, 4)


@pytest.fixture(scope="module", autouse=True)
def in_the_tests_process(tiny_runs) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.evaluate.picture, "write_picture", lambda *_: None)
        patch.setattr(train.evaluate.__main__, "keep_memory", lambda: None)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return dataclasses.replace(
        DIGITS, run_dir=folder, model="tiny", epochs=3, batch_size=64, best_after=0.0
    )


@pytest.fixture(scope="module")
def unfinished(config) -> Path:
    """A run that was stopped after two of its three epochs."""
    stop = StopRequest()
    with pytest.MonkeyPatch.context() as patch:
        ended = train.loop.end_epoch

        def end(run, state, rows, *others) -> None:
            ended(run, state, rows, *others)
            stop.signum = signal.SIGTERM if len(rows) == 2 else None

        patch.setattr(train.loop, "end_epoch", end)
        with pytest.raises(Stopped):
            fit(config, stop)
    return config.folder


@pytest.mark.parametrize("without_classes", [False, True])
def test_an_unfinished_run_gives_its_best_net(
    unfinished, tmp_path, caplog, without_classes
):
    """Of older code, which did not write the classes, too."""
    folder = Path(shutil.copytree(unfinished, tmp_path / "run"))
    if without_classes:
        origin = json.loads((folder / "origin.json").read_text())
        del origin["net"]
        (folder / "origin.json").write_text(json.dumps(origin))
    net = load_net(folder)
    assert f"the run in {folder} is not finished: taking the net of ep" in caplog.text
    assert net.classifier.classes == list("0123456789")
    config = read_config(unfinished)
    run = run_of(config, load_dataset(config))
    like = expected_state(config, run.model, run.optimizer)
    with Checkpoints(unfinished, like) as checkpoints:
        state, _ = checkpoints.restore_best()
    chex.assert_trees_all_equal(net.classifier.variables, state.tested_variables)


def test_all_commands_take_an_unfinished_run(unfinished, tmp_path, capfd, caplog):
    picture = tmp_path / "digit.png"
    data = load_dataset(read_config(unfinished))
    from PIL import Image

    Image.fromarray(np.asarray(data.images[0])).save(picture)
    assert program.main(["predict", str(unfinished), str(picture), "--csv"]) == 0
    assert str(picture) in capfd.readouterr().out
    assert "is not finished: taking the net of epoch" in caplog.text
    out_folder = str(tmp_path / "evaluation")
    assert program.main(["evaluate", str(unfinished), "--out", out_folder]) == 0
    assert (tmp_path / "evaluation" / "predictions.csv").is_file()
    assert program.main(["report", str(unfinished)]) == 0
    assert "Not finished: 2 of 3 epochs, on" in (unfinished / "report.html").read_text()


def test_an_unfinished_run_can_be_begun_with(config, unfinished, tmp_path):
    folder = tmp_path / "next"
    begun = dataclasses.replace(config, init=unfinished, run_dir=folder, epochs=1)
    assert fit(begun, StopRequest())["test_images"] == 359


def test_without_a_finished_epoch_there_is_no_net(unfinished, tmp_path, capfd):
    folder = Path(shutil.copytree(unfinished, tmp_path / "run"))
    shutil.rmtree(folder / "checkpoints")
    assert program.main(["predict", str(folder), str(folder)]) == 1
    assert "has no net yet: no epoch of it is finished" in capfd.readouterr().err


def test_a_whole_run_traces_the_evaluation_once(config, tmp_path, monkeypatch):
    """Its test computes what its validations computed."""
    chex.clear_trace_counter()
    once = jax.jit(
        chex.assert_max_traces(eval_step.__wrapped__, n=1),
        static_argnames=("model", "settings"),
    )
    monkeypatch.setattr(train.loop, "eval_step", once)
    monkeypatch.setattr(train.evaluate.testing, "eval_step", once)
    fresh = dataclasses.replace(config, run_dir=tmp_path / "run", epochs=1)
    result = fit(fresh, StopRequest())
    net = gpwjax.load(fresh.folder)
    assert net.metadata["test_accuracy"] == result["test_accuracy"]
