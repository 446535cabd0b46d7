"""`python -m train` as a person runs it: whole processes, on the digits."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import numpy as np
import orbax.checkpoint as ocp
import pytest

import gpwjax
from train.data import load_dataset
from train.presets import DIGITS

ROOT = Path(__file__).parents[1]
EPOCHS = 2
SETTINGS = ["--epochs", str(EPOCHS), "--batch-size", "64"]
STEPS = EPOCHS * (1258 // 64)
CLOCKED = ("images_per_second", "seconds")  # columns that no two runs share


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts the program; all runs of this file share a cache folder."""
    cache = tmp_path_factory.mktemp("cache")

    def start(*args: object) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "train", *map(str, args)],
            cwd=ROOT,
            env=os.environ | {"XDG_CACHE_HOME": str(cache), "XLA_FLAGS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    finish(start(*SETTINGS, "--run-dir", folder))
    return folder


def finish(process: subprocess.Popen, status: int = 0) -> str:
    output, _ = process.communicate()
    assert process.returncode == status, output
    return output


def wait_for(process: subprocess.Popen, text: str) -> None:
    """Reads the output up to a line that holds `text`."""
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the program ended without printing {text!r}")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [
            {k: v for k, v in row.items() if k not in CLOCKED}
            for row in csv.DictReader(file)
        ]


def last_state(folder: Path) -> dict:
    """All arrays of the run's last checkpoint, by their path."""
    checkpoint = folder / "checkpoints" / str(STEPS) / "default"
    return ocp.StandardCheckpointer().restore(checkpoint.absolute())


def assert_same_end(folder: Path, whole: Path) -> None:
    """Bit for bit the same parameters, weights file and rows of metrics."""
    assert rows(folder) == rows(whole)
    chex.assert_trees_all_equal(last_state(folder), last_state(whole))
    weights = "model.safetensors"
    assert (folder / weights).read_bytes() == (whole / weights).read_bytes()


def test_a_run_leaves_all_its_files(whole):
    assert {file.name for file in whole.iterdir()} == {
        *("config.json", "metrics.csv", "checkpoints", "result.json"),
        *("model.safetensors", "curves.png", "confusion.png"),
    }
    assert [row["epoch"] for row in rows(whole)] == ["1", "2"]
    result = json.loads((whole / "result.json").read_text())
    assert result["params"] == 244_298
    assert result["seed"] == 0
    assert set(result) >= {
        *("test_accuracy", "val_accuracy", "macs", "seconds", "device", "versions")
    }


def test_the_weights_file_gives_the_accuracy_that_was_reported(whole):
    result = json.loads((whole / "result.json").read_text())
    classifier = gpwjax.load(whole / "model.safetensors")
    data = load_dataset(DIGITS)
    probabilities = classifier.predict(np.asarray(data.images[data.test]))
    accuracy = np.mean(probabilities.argmax(-1) == data.labels[data.test])
    np.testing.assert_allclose(accuracy, result["test_accuracy"], rtol=1e-6)


def test_a_finished_run_is_not_run_again(start, whole):
    before = (whole / "result.json").stat().st_mtime_ns
    output = finish(start(*SETTINGS, "--run-dir", whole))
    assert "finished" in output
    assert (whole / "result.json").stat().st_mtime_ns == before


def test_a_killed_run_ends_as_if_it_had_not_been(start, whole, tmp_path):
    args = [*SETTINGS, "--run-dir", tmp_path / "run"]
    process = start(*args)
    wait_for(process, f"epoch 1/{EPOCHS}")
    time.sleep(1)  # into the middle of the epoch
    process.kill()
    finish(process, -signal.SIGKILL)
    output = finish(start(*args))
    assert "going on from step" in output
    assert_same_end(tmp_path / "run", whole)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_and_goes_on_later(start, whole, tmp_path, signum):
    args = [*SETTINGS, "--run-dir", tmp_path / "run"]
    process = start(*args)
    wait_for(process, f"epoch 1/{EPOCHS}")
    process.send_signal(signum)
    output = finish(process, 128 + signum)
    assert re.search("stopped (after epoch 1|in epoch 2)", output)
    assert "the same command goes on from there" in output
    finish(start(*args))
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
    assert result["test_accuracy"] >= 0.97
