"""`python -m train` as a person runs it: whole processes, on the digits."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from train_processes import Start, assert_same_end, finish, starter, wait_for

import gpwjax
from train.data import load_dataset
from train.evaluate.files import read_answers
from train.presets import DIGITS
from train.report.build import build_report
from train.run_folder import read_metrics

ROOT = Path(__file__).parents[1]
EPOCHS = 2
SETTINGS = ["--epochs", str(EPOCHS), "--batch-size", "64"]


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Start:
    """Starts the program, or `train.report`; all runs of this file share a cache
    folder."""
    cache = tmp_path_factory.mktemp("cache")
    env = os.environ | {"XDG_CACHE_HOME": str(cache), "XLA_FLAGS": ""}

    def start(*args: object, module: str = "train") -> subprocess.Popen:
        return starter(["-m", module], env)(*args)

    return start


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    finish(start(*SETTINGS, "--run-dir", folder))
    return folder


def test_a_run_leaves_all_its_files(whole):
    assert {file.name for file in whole.iterdir()} == {
        *("config.json", "origin.json", "metrics.csv", "checkpoints", "result.json"),
        *("model.safetensors", "curves.png", "confusion.png", "heatmaps.png", ".lock"),
        *("predictions.csv", "classes.csv", "mistakes", "costs.csv", "report.html"),
        *("confusion.csv", "calibration.csv"),
    }
    assert [row["epoch"] for row in read_metrics(whole)] == [1, 2]
    result = json.loads((whole / "result.json").read_text())
    assert result["params"] == 244_298
    assert result["seed"] == 0
    assert set(result) >= {
        *("test_accuracy", "val_accuracy", "macs", "seconds", "device", "versions")
    }


def test_the_weights_file_gives_the_answers_that_were_reported(whole):
    result = json.loads((whole / "result.json").read_text())
    classifier = gpwjax.load(whole / "model.safetensors")
    data = load_dataset(DIGITS)
    probabilities = classifier.predict(np.asarray(data.images[data.test]))
    accuracy = np.mean(probabilities.argmax(-1) == data.labels[data.test])
    np.testing.assert_allclose(accuracy, result["test_accuracy"], rtol=1e-6)
    reported = read_answers(whole)
    np.testing.assert_array_equal(reported.indices, data.test)
    np.testing.assert_array_equal(reported.labels, data.labels[data.test])
    np.testing.assert_array_equal(reported.predicted, probabilities.argmax(-1))
    np.testing.assert_allclose(reported.confidence, probabilities.max(-1), rtol=1e-4)
    pictures = {int(file.stem) for file in (whole / "mistakes").iterdir()}
    assert pictures == set(reported.indices[reported.mistakes[:12]])


def test_the_report_can_be_built_again(whole):
    left = (whole / "report.html").read_bytes()
    assert build_report(whole).read_bytes() == left
    assert left.count(b"<img ") == 12
    assert len(left) < 300_000


def test_a_finished_run_is_not_run_again(start, whole):
    before = (whole / "result.json").stat().st_mtime_ns
    output = finish(start(*SETTINGS, "--run-dir", whole))
    assert "finished" in output
    assert (whole / "result.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("program", ["train", "report"])
def test_pictures_that_a_kill_left_undrawn_are_drawn_later(
    start, whole, tmp_path, program
):
    folder = tmp_path / "whole"
    shutil.copytree(whole, folder)
    drawn = [folder / name for name in ("curves.png", "confusion.png", "heatmaps.png")]
    drawn += [folder / "report.html", *(folder / "mistakes").iterdir()]
    before = [file.read_bytes() for file in drawn]
    for file in drawn:
        file.unlink()
    if program == "train":
        finish(start(*SETTINGS, "--run-dir", folder))
    else:
        finish(start(folder, module="train.report"))
    for file, content in zip(drawn, before, strict=True):
        assert file.read_bytes() == content, file


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(start, whole, tmp_path):
    """As in test_faults.py, with the net that `python -m train` trains."""
    args = [*SETTINGS, "--run-dir", tmp_path / "run"]
    process = start(*args)
    wait_for(process, f"epoch 1/{EPOCHS}")
    process.kill()
    finish(process, -signal.SIGKILL)
    assert "going on from step" in finish(start(*args))
    assert_same_end(tmp_path / "run", whole)


def test_another_configuration_is_refused(start, whole):
    output = finish(start("--epochs", "9", "--run-dir", whole), 1)
    assert "error: run folder" in output
    assert "--epochs was 2, now 9" in output


def test_what_cannot_run_is_one_line_and_leaves_no_folder(start, tmp_path):
    output = finish(start("--data", "unknown", "--run-dir", tmp_path / "run"), 1)
    assert "error: there is no data set 'unknown'" in output
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_default_run_learns_the_digits(start, tmp_path, seed):
    finish(start("--seed", seed, "--run-dir", tmp_path / "run"))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["test_accuracy"] >= 0.98
