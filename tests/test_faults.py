"""Faults that really happen to a run, injected: every restart ends as if there had been
none. The training program in processes of its own, with a net that compiles quickly.

| fault | test |
|---|---|
| Ctrl-C, SIGTERM, SIGHUP | here: asked to stop |
| kill -9 at any moment | here: killed at any moment |
| full disk, read-only folder, folder that vanishes | here |
| metrics.csv cut | here, test_run_folder.py |
| checkpoint flipped, cut, deleted or empty | test_checkpoints.py |
| second process, other data, other code | test_loop.py |
| other settings, config.json damaged | test_run_folder.py |
| loss or gradient not finite | test_loop.py |
| host that dies, signal to one host | test_hosts.py |
| other number of devices | test_devices.py, test_checkpoints.py |
| hostile files | test_weights.py, test_keras.py, test_images.py, test_table.py |
| fuzzing of their readers | test_fuzz.py |
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from train_processes import (
    HERE,
    Start,
    assert_same_end,
    environment,
    finish,
    starter,
    wait_for,
)

SETTINGS = [
    "--model",
    "tiny",
    "--image-size",
    "8",
    "--epochs",
    "5",
    "--batch-size",
    "64",
]


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Start:
    """Starts the program; all runs of this file share a cache folder."""
    env = environment(tmp_path_factory.mktemp("cache"))
    return starter([HERE / "train_tiny.py"], env)


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    finish(start(*SETTINGS, "--run-dir", folder))
    return folder


def assert_one_clear_line(output: str, pattern: str) -> None:
    assert len(re.findall("^error: ", output, re.MULTILINE)) == 1, output
    assert re.search(f"^error: .*{pattern}", output, re.MULTILINE), output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "signum",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_asked_to_stop_it_saves_and_goes_on_later(start, whole, tmp_path, signum):
    args = [*SETTINGS, "--run-dir", tmp_path / "run"]
    process = start(*args)
    wait_for(process, "epoch 2/5")
    process.send_signal(signum)
    output = finish(process, 128 + signum)
    assert re.search("stopped (after|in) epoch", output)
    assert "the same command goes on from there" in output
    assert "going on from step" in finish(start(*args))
    assert_same_end(tmp_path / "run", whole)


@pytest.mark.parametrize(
    ("steps", "times"), [(2, 1), pytest.param(1000, 100, marks=pytest.mark.slow)]
)
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(tmp_path, steps, times):
    """Before a step on the disk, also while saving and drawing, and after a time; of
    about 320 steps the slow test takes each, in more than an hour."""
    env = environment(tmp_path / "cache")
    finished = subprocess.run(
        [sys.executable, HERE / "killed_runs.py", tmp_path, str(steps), str(times)],
        env=env,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    found = [json.loads(line) for line in finished.stdout.splitlines()]
    assert len(found) >= min(200, steps) + times
    assert_same_end(tmp_path / "again", tmp_path / "whole")
    for entry in found:
        assert entry["status"] == 0, entry
        assert_same_end(tmp_path / entry["run"], tmp_path / "whole")
    killed = [entry for entry in found if entry["killed"] == -signal.SIGKILL]
    assert len(killed) > len(found) / 2


def fill(folder: Path) -> Path:
    """Writes a file as large as there is room."""
    file = folder / "filler"
    for size in (2**20, 1):  # bytes at a time
        with contextlib.suppress(OSError), file.open("ab", buffering=0) as stream:
            while True:
                stream.write(bytes(size))
    assert shutil.disk_usage(folder).free == 0
    return file


def test_a_full_disk_stops_the_run_and_the_last_checkpoint_stays(
    start, whole, small_disk
):
    args = [*SETTINGS, "--run-dir", small_disk / "run"]
    process = start(*args)
    wait_for(process, "epoch 2/5")
    filler = fill(small_disk)
    output = finish(process, 1)
    assert_one_clear_line(output, "([Nn]o space left|RESOURCE_EXHAUSTED)")
    filler.unlink()
    output = finish(start(*args))
    assert "left out" not in output
    assert int(re.search(r"going on from step (\d+)", output)[1]) >= 2 * 19
    assert_same_end(small_disk / "run", whole)


def test_a_read_only_folder_is_one_clear_line(start, whole, small_disk):
    shutil.copytree(whole, small_disk / "run")
    (small_disk / "run" / "result.json").unlink()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for folder in ("run", "other"):
        output = finish(start(*SETTINGS, "--run-dir", small_disk / folder), 1)
        assert_one_clear_line(output, f"{folder}.*Read-only file system")


def test_a_folder_that_vanishes_stops_the_run_and_is_not_made_again(start, tmp_path):
    folder = tmp_path / "run"
    process = start(*SETTINGS, "--run-dir", folder)
    wait_for(process, "epoch 2/5")
    folder.rename(tmp_path / "elsewhere")
    output = finish(process, 1)
    assert_one_clear_line(output, str(folder))
    assert not folder.exists()
    # Nothing is lost: where it was moved to, the run goes on.
    args = [*SETTINGS, "--run-dir", tmp_path / "elsewhere"]
    assert "going on from step" in finish(start(*args))


def test_a_machine_that_asks_for_64_bits_gives_the_same_bits(whole, tmp_path):
    """Some people's, by $JAX_ENABLE_X64."""
    cache = whole.parents[1] / "x64"
    start = starter(
        [HERE / "train_tiny.py"], environment(cache) | {"JAX_ENABLE_X64": "1"}
    )
    finish(start(*SETTINGS, "--run-dir", tmp_path / "run"))
    assert_same_end(tmp_path / "run", whole)


@pytest.mark.slow
def test_a_metrics_file_that_was_cut_does_not_stop_the_run(start, tmp_path):
    args = [*SETTINGS, "--run-dir", tmp_path / "run"]
    process = start(*args)
    wait_for(process, "epoch 3/5")
    process.kill()
    finish(process, -signal.SIGKILL)
    file = tmp_path / "run" / "metrics.csv"
    os.truncate(file, file.stat().st_size - 5)
    output = finish(start(*args))
    assert "which is not whole" in output
    assert file.read_text().splitlines()[-1].startswith("5,")
