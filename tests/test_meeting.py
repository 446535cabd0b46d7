"""Hosts that meet, or say in one line why they do not."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from train.config import Config, RunError
from train.process import hosts, meeting
from train.process.meeting import meet


@pytest.fixture
def address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def brief(monkeypatch) -> None:
    monkeypatch.setattr(meeting, "SECONDS", 1)


def outcome(*settings: object) -> str:
    try:
        meet(*settings)
    except RunError as error:
        return str(error)
    return "met"


def outcomes(*settings: tuple) -> list[str]:
    """What comes of hosts with these settings, at the same time."""
    with ThreadPoolExecutor(len(settings)) as pool:
        return list(pool.map(lambda of: outcome(*of), settings))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_hosts_meet_and_leave_the_port_free(address, count):
    for _ in range(2):
        met = outcomes(*((address, count, number) for number in range(count)))
        assert met == ["met"] * count
    with socket.socket() as other:  # as JAX's server, without SO_REUSEADDR
        other.bind(("127.0.0.1", int(address.rpartition(":")[2])))


def test_two_hosts_of_one_number_are_told(address):
    found = outcomes((address, 3, 0), (address, 3, 1), (address, 3, 1))
    assert found == ["two hosts have --host-id 1"] * 3


def test_hosts_of_another_number_are_told(address):
    found = outcomes((address, 3, 0), (address, 2, 1))
    assert found == ["--hosts is 3 on the first host and 2 on another"] * 2


def test_a_missing_host_is_named_on_all(address, brief):
    found = outcomes((address, 4, 0), (address, 4, 2))
    assert found == ["no host with --host-id 1, 3 came in 1 s"] * 2


def test_a_missing_first_host_is_named(address, brief):
    reason = f"no first host at --coordinator {address} in 1 s: Connection refused"
    assert outcome(address, 2, 1) == reason


@pytest.mark.parametrize("answer", [b"\0\0\x12\x04", b"SSH-2.0-x\r\n", b"\xff\n", b""])
def test_a_port_that_another_program_has_is_named(address, answer):
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))) as server:
        reason = f"--coordinator: port {port} of this host cannot be used: Address "
        assert outcome(address, 2, 0).startswith(reason)

        def answer_as_another_program() -> None:
            with server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(answer)

        with ThreadPoolExecutor() as pool:
            pool.submit(answer_as_another_program)
            assert "is another program, or a run that began" in outcome(address, 2, 1)


def test_what_does_not_greet_is_not_taken_for_a_host(address):
    host, _, port = address.rpartition(":")

    def knock() -> None:
        with meeting.connected(host, int(port)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n\xff\n")

    with ThreadPoolExecutor() as pool:
        first = pool.submit(outcome, address, 2, 0)
        pool.submit(knock).result()
        assert outcome(address, 2, 1) == "met"
        assert first.result() == "met"


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "host:",
        ":80",
        "host:x",
        "a:0",
        "a:65536",
        "::1:80",
        "[]:80",
        "http://a:80",
    ],
)
def test_an_address_without_a_port_is_refused(address):
    with pytest.raises(
        RunError, match=f"--coordinator must be HOST:PORT, .* {re.escape(address)}"
    ):
        hosts.connect(Config("x", distributed=True, coordinator=address))


@pytest.mark.parametrize("name", ["not a host", "a..b", "x" * 64])
def test_a_first_host_that_is_not_at_its_address_is_told(address, brief, name):
    """JAX would wait for minutes."""
    elsewhere = f"{name}:{address.rpartition(':')[2]}"
    for count in (1, 2):
        found = outcome(elsewhere, count, 0)
        assert f"--coordinator {elsewhere} does not lead to this host" in found
    assert f"no first host at --coordinator {elsewhere}" in outcome(elsewhere, 2, 1)


def test_a_number_beyond_the_hosts_is_refused(address):
    assert outcome(address, 2, 2) == (
        "--host-id must be from 0 to below the 2 --hosts, got 2"
    )


@pytest.mark.parametrize(
    ("tasks", "expected"), [("1(x2)", []), ("1", []), ("8(x2)", None), ("1,2", None)]
)
def test_one_task_on_each_node_gets_all_its_devices(monkeypatch, tasks, expected):
    """None: JAX takes the one of the task's number; none named: it takes all."""
    given = {}
    monkeypatch.setattr(
        hosts.jax.distributed, "initialize", lambda *_, **kwargs: given.update(kwargs)
    )
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", tasks)
    hosts.connect(Config("x", distributed=True))
    assert given["local_device_ids"] == expected
