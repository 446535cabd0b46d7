"""Outputs that are closed, full or narrow: the same for all programs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run
from train_processes import HERE, environment

PROGRAMS = {
    "gpwjax": ["-m", "gpwjax", "list"],
    "train": ["-m", "train", "--list-presets"],
    "help": ["-m", "train", "--help"],
    "data": ["-m", "train.data", "digits"],
    "report": ["-m", "train.report", "run"],
}
WRITING = ("gpwjax", "train", "data", "report")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    run = make_run(folder / "run")
    for name in ("curves", "confusion", "heatmaps"):
        (run / f"{name}.png").touch()  # so that the report draws none
    return folder


def run(
    folder: Path, program: str, closed: str = "", **options: Any
) -> subprocess.CompletedProcess:
    """Runs a program; `closed` closes a stream, as the shell has it."""
    env = environment(folder / "cache") | {"TQDM_DISABLE": "1"}
    env |= options.pop("env", {})
    # By a shell, since a function before it runs is a fork, of which JAX warns.
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh"]
    command = [*shell, sys.executable, *PROGRAMS[program]]
    options = {"stderr": subprocess.PIPE} | options
    return subprocess.run(command, cwd=folder, env=env, text=True, **options)


@pytest.mark.parametrize("program", WRITING)
def test_a_reader_that_stops_reading_sees_no_error(folder, program):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(folder, program, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("program", WRITING)
def test_text_that_cannot_be_written_is_one_line(folder, program):
    with open("/dev/full", "w") as full:
        done = run(folder, program, stdout=full)
    error = "error: cannot write the text: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, error)


@pytest.mark.parametrize("program", ["gpwjax", "train", "data"])
def test_without_stderr_the_text_is_the_same(folder, program):
    plain = run(folder, program, stdout=subprocess.PIPE)
    assert (plain.returncode, plain.stderr) == (0, "")
    closed = run(folder, program, "2>&-", stdout=subprocess.PIPE, stderr=None)
    assert (closed.returncode, closed.stdout) == (0, plain.stdout)


def test_a_closed_stdout_is_a_text_that_is_lost(folder):
    done = run(folder, "train", ">&-", stdout=None)
    error = "error: cannot write the text: Bad file descriptor\n"
    assert (done.returncode, done.stderr) == (1, error)


@pytest.mark.parametrize("program", ["help", "report"])
def test_a_terminal_may_lack_characters(folder, program):
    (folder / "run").rename(folder / "run\N{SNOWMAN}")
    PROGRAMS["report"][-1] = "run\N{SNOWMAN}"
    try:
        done = run(
            folder,
            program,
            stdout=subprocess.PIPE,
            env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"},
        )
    finally:
        (folder / "run\N{SNOWMAN}").rename(folder / "run")
        PROGRAMS["report"][-1] = "run"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert program == "help" or r"the report is run\u2603/report.html" in done.stdout


def test_a_run_whose_output_nobody_reads_goes_on_to_its_end(tmp_path):
    """Neither its text nor its progress, as after a terminal was closed."""
    reader, writer = os.pipe()
    os.close(reader)
    args = ["--model", "tiny", "--epochs", "1", "--batch-size", "64"]
    try:
        done = subprocess.run(
            [sys.executable, HERE / "train_tiny.py", *args, "--run-dir", "run"],
            cwd=tmp_path,
            env=environment(tmp_path / "cache"),
            stdout=writer,
            stderr=writer,
        )
    finally:
        os.close(writer)
    assert done.returncode == 1
    assert (tmp_path / "run" / "result.json").is_file()
    assert (tmp_path / "run" / "report.html").is_file()
