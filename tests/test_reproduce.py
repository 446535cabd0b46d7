"""Runs of whole recipes in slices, over machines that keep nothing."""

import argparse
import csv
import dataclasses
import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_nets import Tiny
from made_runs import DIGITS

import train.loop
from benchmarks import accuracy, pack, reproduce, trial
from gpwjax.models import MODELS
from train.config import Config, RunError
from train.presets import presets
from train.process.stop import Stopped, StopRequest
from train.run_folder import read_metrics

COMMITS = ("a" * 40, "b" * 40)
ROW = "digits-tiny"


@pytest.fixture(scope="module", autouse=True)
def made_row(tmp_path_factory) -> Iterator[None]:
    """A row that takes no time: 3 epochs of 6 steps of the tiny net, on digits."""
    config = dataclasses.replace(
        DIGITS, preset=ROW, model="tiny", epochs=3, batch_size=200, cycle_epochs=3
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", Tiny)
        patch.setitem(presets(), ROW, config)
        patch.setattr(signal, "signal", lambda *_: None)  # as pytest has them
        patch.setattr(pack, "PART_BYTES", 15_000)
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(cache / "xla"))
        patch.setattr(reproduce, "update", lambda work: None)  # has its own test
        yield


def run_slice(
    work: Path, state: Path | None, steps: int | None = None, **changes
) -> tuple[int | None, int]:
    """Runs a slice, which is asked to stop after some steps: the exit status, if it
    was stopped, and the steps that it took."""
    stop, step, taken = StopRequest(), train.loop.train_step, 0

    def counted(*args, **kwargs):
        nonlocal taken
        taken += 1
        if taken == steps:
            stop.signum = signal.SIGTERM
        return step(*args, **kwargs)

    if state is not None:
        pack.unpack(state, work)
    recipe = dataclasses.replace(presets()[ROW], **changes)
    configs = [reproduce.one_run(recipe, 0, work)]
    commit = COMMITS[0 if steps else 1]
    options = argparse.Namespace(work=work, state=state, commit=commit)
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
    assert run_slice(work, None) == (None, 18)
    return work


@pytest.fixture(scope="module")
def slices(tmp_path_factory) -> list[Path]:
    """The state after each of two slices on machines of their own, the first stopped
    within the second epoch, and the work folder of the last one."""
    folders = []
    state = tmp_path_factory.mktemp("state")
    for number, (steps, expected) in enumerate(((8, (143, 8)), (None, (None, 10)))):
        work = tmp_path_factory.mktemp("machine") / "runs"
        assert run_slice(work, state, steps) == expected
        folders.append(tmp_path_factory.mktemp("carried") / str(number))
        shutil.copytree(state, folders[-1])
    return [*folders, work]


@pytest.fixture
def carried(slices, tmp_path) -> Path:
    """A copy of the state after the first slice, which has two checkpoints."""
    return Path(shutil.copytree(slices[0], tmp_path / "carried"))


def files_in(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()}


def unpacked(state: Path, work: Path) -> dict[str, bytes]:
    """The files of a state by their paths."""
    assert pack.unpack(state, work)
    files = (file for file in work.rglob("*") if file.is_file())
    return {str(file.relative_to(work)): file.read_bytes() for file in files}


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


def test_a_state_is_few_small_files_and_that_of_a_finished_run_is_smaller(
    slices, tmp_path
):
    unfinished, finished = (files_in(state) for state in slices[:2])
    assert 3 <= len(unfinished) <= 8
    assert len(finished) == 2
    for content in [*unfinished.values(), *finished.values()]:
        assert len(content) <= pack.PART_BYTES
    small = {Path(file).name for file in unpacked(slices[1], tmp_path / "work")}
    assert small == {accuracy.COMMITS, *reproduce.SMALL}


def flip_a_byte(state: Path) -> None:
    file = sorted(state.glob("state-*"))[1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def lose_a_part(state: Path) -> None:
    sorted(state.glob("state-*"))[-1].unlink()


def lose_the_index(state: Path) -> None:
    (state / pack.INDEX).unlink()


def be_of_another_format(state: Path) -> None:
    (state / pack.INDEX).write_text('{"format": 0, "parts": {}}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_byte, "state-.*-1 is not what was written: its SHA-256 must be"),
        (lose_a_part, "a part of the state cannot be read: .*state-"),
        (lose_the_index, "lacks state.json: copy all files of the state"),
        (be_of_another_format, "must be of a state of format 1"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(
    carried, tmp_path, damage: Callable[[Path], None], message
):
    damage(carried)
    with pytest.raises(RunError, match=message):
        pack.unpack(carried, tmp_path / "work")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("writer", ["write_bytes", "write_text"])
def test_a_kill_while_packing_leaves_the_former_state(
    carried, tmp_path, monkeypatch, writer
):
    former = unpacked(carried, tmp_path / "former")
    work = tmp_path / "work"
    unpacked(carried, work)
    (work / accuracy.COMMITS).write_text('{"other": []}')
    writes = 0
    original = getattr(pack, writer)

    def killed(file: Path, content: bytes | str) -> None:
        nonlocal writes
        writes += 1
        if writes == (2 if writer == "write_bytes" else 1):
            raise KeyboardInterrupt
        original(file, content)

    monkeypatch.setattr(pack, writer, killed)
    with pytest.raises(KeyboardInterrupt):
        pack.pack(work, reproduce.files_to_pack(work), carried)
    assert unpacked(carried, tmp_path / "later") == former
    monkeypatch.setattr(pack, writer, original)
    pack.pack(work, reproduce.files_to_pack(work), carried)
    assert unpacked(carried, tmp_path / "last") != former
    index = json.loads((carried / pack.INDEX).read_text())
    assert set(files_in(carried)) == {pack.INDEX, *index["parts"]}


def test_a_state_that_is_too_large_leaves_the_former_one(
    carried, tmp_path, monkeypatch
):
    former = files_in(carried)
    unpacked(carried, tmp_path / "work")
    monkeypatch.setattr(pack, "MOST_PARTS", 1)
    files = reproduce.files_to_pack(tmp_path / "work")
    with pytest.raises(RunError, match="the state must have at most"):
        pack.pack(tmp_path / "work", files, carried)
    assert files_in(carried) == former


def test_the_state_of_another_configuration_is_refused(carried, tmp_path):
    with pytest.raises(RunError, match="--epochs was 3, now 4"):
        run_slice(tmp_path / "work", carried, epochs=4)


def test_what_is_finished_in_the_work_folder_keeps_its_files(carried, whole, tmp_path):
    work = Path(shutil.copytree(whole, tmp_path / "work"))
    pack.unpack(carried, work)
    assert (work / f"{ROW}-float32-seed0" / "model.safetensors").is_file()


def test_accuracy_csv_has_the_finished_whole_runs_once(
    slices, whole, carried, tmp_path, monkeypatch
):
    results = tmp_path / "results"
    results.mkdir()
    pack.unpack(carried, tmp_path / "unfinished")
    assert accuracy.update(tmp_path / "unfinished", results) == []
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
    accuracy.update(tmp_path / "unfinished", results)
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
        "`python -m train --preset cifar10-mobilenet-16ch --dtype bfloat16 --seeds 3`",
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
