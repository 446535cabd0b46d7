"""File systems without locks, and systems without fcntl and SIGHUP."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from train.config import RunError
from train.data.prepare import locked as locked_to_prepare
from train.origin import locked
from train.process import locks
from train.process.stop import SIGNALS, Stopped, StopRequest

HOLD = """
import sys
from pathlib import Path
from train.process import locks
if sys.argv[2] == "none":
    locks.fcntl = None
with locks.exclusive(Path(sys.argv[1])):
    print("has it", flush=True)
    input()
"""


def holder(folder: Path, kind: str) -> subprocess.Popen:
    """Another process, which has the folder."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder, kind],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "has it\n"
    return other


def no_flock(number: int) -> Callable:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.fixture(params=["flock", "ENOSYS", "ENOLCK", "none"])
def kind(request, monkeypatch) -> str:
    """What locks there are."""
    if request.param == "none":
        monkeypatch.setattr(locks, "fcntl", None)
    elif request.param != "flock":
        number = getattr(errno, request.param)
        monkeypatch.setattr(fcntl, "flock", no_flock(number))
        return "none"
    return request.param


def test_one_process_at_a_time_has_a_folder(tmp_path, kind):
    with holder(tmp_path, kind) as other:
        with (
            pytest.raises(RunError, match=f"run folder {tmp_path} is in use by .*proc"),
            locked(tmp_path),
        ):
            raise AssertionError
        with (
            pytest.raises(RunError, match=f"process.* is preparing {tmp_path}"),
            locked_to_prepare(tmp_path),
        ):
            raise AssertionError
        other.communicate("\n")
    with locked(tmp_path):
        pass
    assert os.listdir(tmp_path) == [".lock"]


def test_a_process_that_was_killed_gives_a_folder_back(tmp_path, kind):
    with holder(tmp_path, kind) as other:
        other.kill()
    with locked(tmp_path):
        pass


def test_a_process_of_another_host_may_live(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    (tmp_path / ".in_use").write_text("1234 of elsewhere")
    line = "process 1234 of elsewhere .if that is gone, remove .*in_use"
    with pytest.raises(RunError, match=line), locked(tmp_path):
        raise AssertionError
    assert (tmp_path / ".in_use").is_file()


def test_another_fault_of_the_file_system_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_flock(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"), locked(tmp_path):
        raise AssertionError


ARGUMENTS = {"train": [], "gpwjax predict": ["net", "a.png"]}


@pytest.mark.parametrize("program", ARGUMENTS)
def test_devices_that_there_are_not_are_one_line(tmp_path, program):
    done = subprocess.run(
        [sys.executable, "-m", *program.split(), *ARGUMENTS[program]],
        cwd=tmp_path,
        env=os.environ
        | {"JAX_PLATFORMS": "cuda", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        pytest.skip("there is a GPU")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: JAX finds no devices of JAX_PLATFORMS=cuda: ")
    assert not (tmp_path / "runs").exists()


IMPORT_ALL = """
import importlib, pkgutil, signal, sys
import h5py, jax, matplotlib, onnx, orbax.checkpoint, sklearn, tensorflow_datasets
sys.modules["fcntl"] = None
del signal.SIGHUP
import gpwjax, train
from train.process.stop import StopRequest
for package in (gpwjax, train):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
StopRequest()
"""


def test_all_modules_are_imported_without_fcntl_and_sighup():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def handlers() -> None:
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(signum) for signum in signals]
    yield
    for signum, handler in zip(signals, before, strict=True):
        signal.signal(signum, handler)


def test_after_a_run_signals_are_whose_they_were(handlers):
    before = [signal.getsignal(signum) for signum in SIGNALS]
    stop = StopRequest()
    assert signal.getsignal(signal.SIGTERM) == stop._handle
    stop.end()
    assert [signal.getsignal(signum) for signum in SIGNALS] == before


def test_a_closed_terminal_stops_a_run_unless_nohup_keeps_it(handlers):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    stop = StopRequest()
    stop.postpone()
    signal.raise_signal(signal.SIGHUP)
    assert stop.signum == signal.SIGHUP
    assert Stopped(stop.signum).exit_status == 129
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = StopRequest()
    signal.raise_signal(signal.SIGHUP)
    assert stop.signum is None
