"""Archives are downloaded whole or not at all; the server is on this machine."""

import dataclasses
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from train.config import RunError
from train.data.published import archives
from train.data.published.archives import Archive, download

CONTENT = bytes(range(256)) * 20_000
DIGEST = "d" * 64


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@dataclasses.dataclass
class Publisher:
    """What the server does, and which parts it was asked for."""

    content: bytes = CONTENT
    stop_after: int | None = None  # bytes: then the connection breaks
    ranges: bool = True  # whether it can send a part
    chunked: bool = False  # whether it says how much comes
    # Until then the connection stays when it has stopped.
    breaks: threading.Event = dataclasses.field(default_factory=threading.Event)
    asked: list[str | None] = dataclasses.field(default_factory=list)
    address: str = ""

    def archive(self, path: str = "/set.tar") -> Archive:
        return Archive("set.tar", self.address + path, DIGEST)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        publisher: Publisher = self.server.publisher
        wanted = self.headers["Range"]
        publisher.asked.append(wanted)
        self.close_connection = True
        start = 0
        if wanted and publisher.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if self.path != "/set.tar":
            self.send_error(404)
        elif start and start >= len(publisher.content):
            self.send_error(416)
        else:
            self.send_content(publisher, start)

    def send_content(self, publisher: Publisher, start: int) -> None:
        self.send_response(206 if start else 200)
        content = publisher.content[start:]
        if publisher.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        part = content[: publisher.stop_after]
        if not publisher.breaks.is_set():
            self.wfile.write(part)
            publisher.breaks.wait()
            return
        if not publisher.chunked:
            self.wfile.write(part)
            return
        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        if publisher.stop_after is None:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.publisher = Publisher(
            address=f"http://127.0.0.1:{server.server_address[1]}"
        )
        server.publisher.breaks.set()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.publisher
        server.publisher.breaks.set()
        server.shutdown()
        thread.join()


def assert_not_had(archive: Archive, folder: Path, reason: str) -> None:
    """One line that says why, and what to do; nothing has the archive's name."""
    with pytest.raises(RunError, match=reason) as error:
        download(archive, folder)
    message = str(error.value)
    for part in (archive.url, archive.file, "--archive FILE"):
        assert part in message
    assert (archive.sha256 or "not published") in message
    assert "\n" not in message
    assert not (folder / archive.file).exists()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_is_downloaded_once(publisher, tmp_path, chunked):
    publisher.chunked = chunked
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        file = download(publisher.archive(), folder)
        assert file.read_bytes() == CONTENT
    assert [*folder.iterdir()] == [folder / "set.tar"]
    assert publisher.asked == [None]


@pytest.mark.parametrize("ranges", [True, False], ids=["parts", "no parts"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_broken_download_goes_on(publisher, tmp_path, ranges, chunked):
    publisher.ranges, publisher.chunked = ranges, chunked
    publisher.stop_after = 3_000_000
    assert_not_had(publisher.archive(), tmp_path, "cannot download .*set.tar: ")
    (unfinished,) = tmp_path.iterdir()
    done = unfinished.stat().st_size
    assert unfinished.read_bytes() == CONTENT[:done]
    if not chunked:
        assert done == 3_000_000
    publisher.stop_after = None
    assert download(publisher.archive(), tmp_path).read_bytes() == CONTENT
    assert publisher.asked == [None, f"bytes={done}-" if done else None]
    assert [*tmp_path.iterdir()] == [tmp_path / "set.tar"]


def test_a_download_that_breaks_again_and_again_grows(publisher, tmp_path):
    publisher.stop_after = 2_000_000
    for _ in range(2):
        assert_not_had(publisher.archive(), tmp_path, "the connection broke off")
    assert download(publisher.archive(), tmp_path).read_bytes() == CONTENT
    assert publisher.asked == [None, "bytes=2000000-", "bytes=4000000-"]


@pytest.mark.parametrize("more", [b"", b"more"])
def test_a_download_that_ended_before_it_got_its_name(publisher, tmp_path, more):
    """The server has nothing to add, so all is downloaded again."""
    (tmp_path / "set.tar.unfinished").write_bytes(CONTENT + more)
    assert download(publisher.archive(), tmp_path).read_bytes() == CONTENT
    assert publisher.asked == [f"bytes={len(CONTENT + more)}-", None]


def test_a_file_that_is_not_there(publisher, tmp_path):
    assert_not_had(publisher.archive("/moved.tar"), tmp_path, "HTTP Error 404")


def test_an_archive_without_a_published_digest(publisher, tmp_path):
    archive = dataclasses.replace(publisher.archive("/moved.tar"), sha256=None)
    assert_not_had(archive, tmp_path, "not published")


def test_no_server(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    archive = Archive("set.tar", f"http://127.0.0.1:{port}/set.tar", DIGEST)
    assert_not_had(archive, tmp_path, "refused")


def test_a_server_that_never_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        archive = Archive("set.tar", f"http://127.0.0.1:{port}/set.tar", DIGEST)
        assert_not_had(archive, tmp_path, "no answer|timed out")


def test_a_server_that_falls_silent(publisher, tmp_path, monkeypatch):
    publisher.stop_after = 2_000_000
    publisher.breaks.clear()
    with monkeypatch.context() as patch:
        patch.setattr(archives, "CONNECT_SECONDS", 0.5)
        assert_not_had(publisher.archive(), tmp_path, "no answer|timed out")
    publisher.breaks.set()
    publisher.stop_after = None
    assert download(publisher.archive(), tmp_path).read_bytes() == CONTENT


def test_a_look_up_of_a_name_that_never_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "CONNECT_SECONDS", 0.2)
    ended = threading.Event()

    def wait(*args: object, **kwargs: object) -> None:
        ended.wait()
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    archive = Archive("set.tar", "http://gpwjax.invalid/set.tar", DIGEST)
    assert_not_had(archive, tmp_path, "no answer")
    ended.set()
