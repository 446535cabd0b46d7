"""Runs of whole recipes in slices."""

import argparse
import csv
import dataclasses
import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_runs import DIGITS

import train.loop
from benchmarks import accuracy, reproduce, trial
from train.config import Config
from train.presets import presets
from train.process.stop import Stopped, StopRequest
from train.run_folder import read_metrics

COMMITS = ("a" * 40, "b" * 40)
ROW = "digits-tiny"


@pytest.fixture(scope="module", autouse=True)
def made_row(tiny_runs) -> Iterator[None]:
    """A row that takes no time: 3 epochs of 6 steps of the tiny net, on digits."""
    config = dataclasses.replace(
        DIGITS, preset=ROW, model="tiny", epochs=3, batch_size=200, cycle_epochs=3
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets(), ROW, config)
        patch.setattr(reproduce, "update", lambda work: None)  # has its own test
        yield


def run_slice(work: Path, steps: int | None = None) -> tuple[int | None, int]:
    """Runs a slice, which is asked to stop after some steps: the exit status, if it
    was stopped, and the steps that it took."""
    stop, step, taken = StopRequest(), train.loop.train_step, 0

    def counted(*args, **kwargs):
        nonlocal taken
        taken += 1
        if taken == steps:
            stop.signum = signal.SIGTERM
        return step(*args, **kwargs)

    configs = [reproduce.one_run(presets()[ROW], 0, work)]
    commit = COMMITS[0 if steps else 1]
    options = argparse.Namespace(work=work, commit=commit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.loop, "train_step", counted)
        try:
            reproduce.run_rows(configs, options, stop)
        except Stopped as stopped:
            return stopped.exit_status, taken
    return None, taken


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The work folder of an undisturbed run."""
    work = tmp_path_factory.mktemp("whole")
    assert run_slice(work) == (None, 18)
    return work


@pytest.fixture(scope="module")
def slices(tmp_path_factory) -> list[Path]:
    """The work folder after each of two slices, the first stopped within the second
    epoch, each on a machine of its own that got a copy of the former."""
    folders = [tmp_path_factory.mktemp("machine") / "runs" for _ in range(2)]
    assert run_slice(folders[0], 8) == (143, 8)
    shutil.copytree(*folders)
    assert run_slice(folders[1]) == (None, 10)
    return folders


def test_slices_on_new_machines_end_like_an_undisturbed_run(slices, whole):
    name = f"{ROW}-float32-seed0"
    ours, theirs = slices[-1] / name, whole / name
    for ours_row, theirs_row in zip(
        read_metrics(ours), read_metrics(theirs), strict=True
    ):
        for column in ("images_per_second", "seconds"):
            del ours_row[column], theirs_row[column]
        assert ours_row == theirs_row
    weights = "model.safetensors"
    assert (ours / weights).read_bytes() == (theirs / weights).read_bytes()
    for key in ("test_accuracy", "test_loss", "val_accuracy", "best_epoch"):
        results = [json.loads((f / "result.json").read_text()) for f in (ours, theirs)]
        assert results[0][key] == results[1][key]


def test_accuracy_csv_has_the_finished_whole_runs_once(
    slices, whole, tmp_path, monkeypatch
):
    results = tmp_path / "results"
    results.mkdir()
    assert accuracy.update(slices[0], results) == []
    assert not list(results.iterdir())
    (row,) = accuracy.update(slices[-1], results)
    result = json.loads(next(slices[-1].glob("*/result.json")).read_text())
    assert set(row) == set(accuracy.COLUMNS)
    assert row["commit"] == " ".join(COMMITS)  # of the two slices
    assert float(row["test_accuracy"]) == result["test_accuracy"]
    assert (row["preset"], row["seed"], row["dtype"]) == (ROW, "0", "float32")
    first = (results / "accuracy.csv").read_text()
    assert len(first.splitlines()) == 2
    assert (results / "accuracy.png").is_file()
    monkeypatch.setattr(accuracy, "draw", lambda *_: None)  # takes half a second
    accuracy.update(slices[-1], results)
    accuracy.update(slices[0], results)
    assert (results / "accuracy.csv").read_text() == first
    accuracy.update(whole, results)  # the same run, of another commit
    with (results / "accuracy.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["commit"] == COMMITS[1]


def test_a_run_with_other_settings_is_not_a_whole_recipe():
    recipe = presets()["cifar10-mobilenet-16ch"]

    def is_whole(**changes) -> bool:
        config: Config = dataclasses.replace(recipe, **changes)
        return accuracy.has_whole_recipe(json.loads(json.dumps(config.to_json())))

    assert is_whole()
    assert is_whole(seed=3, dtype="bfloat16")
    assert not is_whole(epochs=2)
    assert not is_whole(image_size=32)
    assert not is_whole(augmentation=DIGITS.augmentation)
    assert not is_whole(preset=None)


def test_the_table_has_a_line_for_all_seeds_of_a_row():
    row = dict.fromkeys(accuracy.COLUMNS, "1") | {
        "preset": "cifar10-mobilenet-16ch",
        "dtype": "bfloat16",
        "params": "244298",
        "epochs": "50",
        "device": "Card",
        "seconds": "1200",
        "commit": "c" * 40,
    }
    accuracies = ("0.89", "0.90", "0.91")
    rows = [
        row | {"seed": str(seed), "test_accuracy": value}
        for seed, value in enumerate(accuracies)
    ]
    *_, line = accuracy.table(rows).splitlines()
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        *("`cifar10-mobilenet-16ch`, bfloat16", "244,298", "89.81", "90.00 ± 2.48"),
        *("0, 1, 2", "50", "Card", "1,200", "ccccccc"),
        "`gpwjax train --preset cifar10-mobilenet-16ch --dtype bfloat16 --seeds 3`",
    ]
    assert accuracy.table([]).startswith("Nothing has been measured")


def test_each_seed_is_for_all_rows_and_train_takes_the_other_arguments(tmp_path):
    args = ["modern-cifar10-mobilenet-16ch", "cifar10-mobilenet-dense", "--seeds", "2"]
    args += ["--dtype", "float32", "--work", str(tmp_path), "--commit", COMMITS[0]]
    _, configs = reproduce.parse_arguments(args)
    assert [(config.preset, config.seed) for config in configs] == [
        (row, seed) for seed in (0, 1) for row in args[:2]
    ]
    assert {config.dtype for config in configs} == {"float32"}
    assert len({config.folder for config in configs}) == 4
    _, configs = reproduce.parse_arguments(["--commit", COMMITS[0]])
    assert tuple(config.preset for config in configs) == reproduce.ROWS


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--seed=1"], "--seed=1 is not taken: ROW, --seeds and --work say it"),
        (["--commit", "main"], "--commit must be the 40 digits .*, got 'main'"),
        (["--minutes", "0"], "--minutes must be more than 0, got 0"),
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["cifar10-mobilenet-15ch"], "did you mean cifar10-mobilenet-1"),
    ],
)
def test_wrong_arguments_are_refused(args, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        reproduce.parse_arguments([*args, "--work", str(tmp_path)])
    assert re.search(message, capsys.readouterr().err)


def test_the_end_of_a_slice_is_a_signal_unless_one_came_before(monkeypatch):
    handlers, raised = {}, []
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(signal, "setitimer", lambda *_: None)
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    stop = StopRequest()
    reproduce.stop_after(9, stop)
    handlers[signal.SIGALRM]()
    assert raised == [signal.SIGTERM]
    stop.signum = signal.SIGINT
    handlers[signal.SIGALRM]()
    assert raised == [signal.SIGTERM]


def test_a_trial_says_how_long_the_whole_recipe_takes(tmp_path, monkeypatch, capsys):
    written = []
    monkeypatch.setattr(trial, "add", lambda *case: written.append(case))
    config = reproduce.one_run(presets()[ROW], 0, tmp_path)
    trial.try_rows([config], seconds=0, commit=COMMITS[0])
    ((name, case, figures),) = written
    assert (name, case) == ("trial", f"{ROW} float32")
    epoch = 1258 / figures["images_per_second"]  # of scikit-learn's digits
    epoch += 180 / figures["validation_images_per_second"]
    expected = (figures["compile_seconds"] + 3 * epoch) / 60
    assert figures["minutes"] == pytest.approx(expected)
    assert ROW in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
