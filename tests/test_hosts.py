"""Several hosts, as processes on this machine that talk over its loopback."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from train_processes import HERE, assert_same_end, environment, wait_for

SECONDS = 60  # in which hosts must notice that another one died

Start = Callable[..., list[subprocess.Popen]]


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def start(tmp_path) -> Iterator[Start]:
    """Starts a run on several hosts."""
    processes = []

    def start(hosts: int, folder: Path, epochs: int = 2) -> list[subprocess.Popen]:
        together = ["--distributed", "--coordinator", free_address()]
        together += ["--hosts", str(hosts), "--host-id"]
        new = [
            subprocess.Popen(
                [*command(folder, epochs), *together, str(number)],
                env=environment(tmp_path / "cache"),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for number in range(hosts)
        ]
        processes.extend(new)
        return new

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run on one host with two devices, whose sums are those of two hosts."""
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run(
        command(folder / "run", epochs=2),
        env=environment(folder / "cache", devices=2),
        capture_output=True,
        check=True,
    )
    return folder / "run"


def command(folder: Path, epochs: int) -> list[object]:
    settings = f"--model tiny --image-size 8 --batch-size 64 --epochs {epochs}".split()
    return [sys.executable, HERE / "train_tiny.py", *settings, "--run-dir", folder]


def finish(processes: list[subprocess.Popen], status: int = 0) -> list[str]:
    """The outputs of processes that end with this status."""
    outputs = []
    for process in processes:
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == status, output
        outputs.append(output)
    return outputs


@pytest.mark.parametrize("killed", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_dead_host_stops_the_other_and_the_run_goes_on_later(
    start, whole, tmp_path, killed
):
    folder = tmp_path / "run"
    hosts = start(2, folder)
    wait_for(hosts[0], "epoch 1/2")
    hosts[killed].kill()
    survivor = hosts[1 - killed]
    output, _ = survivor.communicate(timeout=SECONDS)
    assert survivor.returncode == 1, output
    assert "start all of them again with the same command" in output
    first, second = finish(start(2, folder))
    assert "going on from step" in first
    assert_same_end(folder, whole)
    # The second one is silent.
    assert "epoch 2/2" in first
    assert not re.search("epoch|training:", second)


@pytest.mark.slow
def test_a_signal_to_one_host_stops_all_and_the_run_goes_on_later(start, tmp_path):
    hosts = start(2, tmp_path / "run", epochs=40)
    wait_for(hosts[0], "epoch 1/40")
    hosts[1].send_signal(signal.SIGTERM)
    first, _ = finish(hosts, 128 + signal.SIGTERM)
    stopped = re.search(r"stopped (?:after epoch|in epoch) (\d+)", first)
    assert int(stopped[1]) < 40
    first, _ = finish(start(2, tmp_path / "run", epochs=40))
    assert "going on from step" in first
    assert "epoch 40/40" in first


@pytest.mark.slow
def test_four_hosts_go_on_with_the_result_of_an_undisturbed_run(start, tmp_path):
    finish(start(4, tmp_path / "whole"))
    hosts = start(4, tmp_path / "run")
    wait_for(hosts[0], "epoch 1/2")
    hosts[2].kill()
    finish([hosts[0], hosts[1], hosts[3]], 1)
    finish(start(4, tmp_path / "run"))
    assert_same_end(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_slurm_says_where_the_hosts_are(whole, tmp_path):
    slurm = {
        "SLURM_JOB_ID": str(os.getpid()),  # chooses the port
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
    }
    processes = [
        subprocess.Popen(
            [*command(tmp_path / "run", epochs=2), "--distributed"],
            env=environment(tmp_path / "cache")
            | slurm
            | {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    finish(processes)
    assert_same_end(tmp_path / "run", whole)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_each_host_reads_and_holds_its_share_of_a_batch(tmp_path, count):
    address = free_address()
    program = [sys.executable, HERE / "share_of_host.py", address, str(count)]
    processes = [
        subprocess.Popen(
            [*program, str(number)],
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    shares = [json.loads(output.splitlines()[-1]) for output in finish(processes)]
    indices = shares[0]["indices"]
    assert len(set(indices)) == 16
    for share in shares:
        assert share["indices"] == indices  # the same global batch
        assert share["shape"] == [16, 1, 1, 3]
        assert share["read"] == sorted(share["held"])
    held = [share["held"] for share in shares]
    assert [len(part) for part in held] == [16 // count] * count
    assert sum(held, []) == indices


def test_without_a_cluster_it_says_what_is_missing(tmp_path):
    finished = subprocess.run(
        [sys.executable, HERE / "train_tiny.py", "--distributed"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert finished.returncode == 1
    assert "error: cannot start --distributed: coordinator_address" in finished.stderr
    assert "--coordinator, --hosts and --host-id must" in finished.stderr
    assert os.listdir(tmp_path) == []
