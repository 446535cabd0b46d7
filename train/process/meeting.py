"""The hosts of `--distributed` meet before JAX connects them: JAX would end a process
without a word that a person understands where one of them is missing or there twice."""

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping

from ..config import RunError

SECONDS = 60  # in which all must come
GREETING = "gpwjax"  # the first word of what a host says, and of what it hears
WELCOME = "all are here"
MOST = 1000  # bytes of either


def meet(coordinator: str, hosts: int, host_id: int) -> None:
    """Waits until all hosts are there.

    Raises:
      RunError: the settings are wrong or do not fit those of another host, the port is
        taken, or a host did not come.
    """
    name, port = parse(coordinator)
    if not 0 <= host_id < hosts:
        raise RunError(
            f"--host-id must be from 0 to below the {hosts} --hosts, got {host_id}"
        )
    if host_id == 0:
        receive(name, port, hosts)
    else:
        come(name, port, hosts, host_id)


def parse(coordinator: str) -> tuple[str, int]:
    """Host and port of an address. Raises RunError where it is none."""
    name, _, port = coordinator.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() else 0
    inner = name[1:-1] if name[:1] + name[-1:] == "[]" else name
    # At port 0 nobody would find it.
    if not inner or ":" in inner and inner == name or not 0 < number < 2**16:
        raise RunError(
            "--coordinator must be HOST:PORT, an IPv6 address in brackets, got "
            f"{coordinator}"
        )
    return inner, number


def receive(name: str, port: int, hosts: int) -> None:
    """What the first host does: it waits for the others, and tells each what came."""
    end = time.monotonic() + SECONDS
    guests: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(listening(port))
        check_leads_here(name, port)
        try:
            while len(guests) < hosts - 1:
                server.settimeout(max(0.01, end - time.monotonic()))
                guest = stack.enter_context(server.accept()[0])
                with contextlib.suppress(OSError, ValueError):  # it is none of ours
                    welcome(guest, guests, hosts)
            tell(guests, WELCOME)
        except TimeoutError:
            missing = [str(n) for n in range(1, hosts) if n not in guests]
            reason = f"no host with --host-id {', '.join(missing)} came in {SECONDS} s"
            tell(guests, reason)
            raise RunError(reason) from None
        except RunError as error:
            tell(guests, str(error))
            raise


def listening(port: int) -> socket.socket:
    """A server on all addresses of this host, as JAX's will be."""
    try:
        if socket.has_dualstack_ipv6():
            family = socket.AF_INET6
            return socket.create_server(("", port), family=family, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise RunError(
            f"--coordinator: port {port} of this host cannot be used: {error.strerror}"
        ) from error


def check_leads_here(name: str, port: int) -> None:
    """Raises RunError where the first host cannot reach itself as the others would:
    JAX would wait for minutes, and end the process."""
    try:
        socket.create_connection((name, port), timeout=5).close()
    except (OSError, UnicodeError) as error:
        raise RunError(
            f"--coordinator {name}:{port} does not lead to this host, which is the "
            f"first one: {reason_of(error)}"
        ) from error


def reason_of(error: OSError | UnicodeError) -> str:
    """In one line. Of a UnicodeError: a part of the name is empty or too long."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())


def welcome(guest: socket.socket, guests: dict[int, socket.socket], hosts: int) -> None:
    """Takes a host in, or raises RunError where it does not fit the others; ValueError
    where it is another program."""
    guest.settimeout(5)
    greeting, number, of = hear(guest).split()
    if greeting != GREETING:
        raise ValueError
    if int(of) != hosts:
        reason = f"--hosts is {hosts} on the first host and {of} on another"
    elif int(number) in guests:
        reason = f"two hosts have --host-id {number}"
    else:
        guests[int(number)] = guest
        return
    tell({int(number): guest}, reason)
    raise RunError(reason)


def come(name: str, port: int, hosts: int, host_id: int) -> None:
    """What every other host does: it greets the first one and waits for its answer."""
    with connected(name, port) as first:
        first.settimeout(SECONDS + 5)
        try:
            first.sendall(f"{GREETING} {host_id} {hosts}\n".encode())
            speaker, _, answer = hear(first).partition(" ")
        except (OSError, ValueError):
            speaker = answer = ""
    if (speaker, answer) == (GREETING, WELCOME):
        return
    raise RunError(
        answer
        if speaker == GREETING
        else f"--coordinator {name}:{port} is another program, or a run that began "
        f"without this host: two hosts may have --host-id {host_id}, or 0"
    )


@contextlib.contextmanager
def connected(name: str, port: int) -> Iterator[socket.socket]:
    """A connection with the first host, which may come later."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            connection = socket.create_connection((name, port), timeout=5)
            break
        except (OSError, UnicodeError) as error:
            if time.monotonic() > end:
                raise RunError(
                    f"no first host at --coordinator {name}:{port} in {SECONDS} s: "
                    f"{reason_of(error)}"
                ) from error
            time.sleep(0.2)
    with connection:
        yield connection


def hear(connection: socket.socket) -> str:
    """A line. Raises ValueError where it is no text."""
    with connection.makefile("rb") as stream:
        return stream.readline(MOST).decode().rstrip("\n")


def tell(guests: Mapping[int, socket.socket], text: str) -> None:
    """Sends a line to all, and waits until they have heard it."""
    for guest in guests.values():
        with contextlib.suppress(OSError):
            guest.sendall(f"{GREETING} {text}\n".encode())
            guest.recv(1)  # nothing: it closes first, which frees the port at once
