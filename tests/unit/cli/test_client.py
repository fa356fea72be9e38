"""What a command makes of a daemon that does not answer as it should."""

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.cli.client import Client, DaemonDownError, decoded
from syncd.daemon.people.answers_json import STATUS_JSON
from syncd.errors import SyncdError


@pytest.fixture
def address() -> Iterator[Path]:
    """Yield a path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="syncd-test-", dir="/tmp") as directory:
        yield Path(directory) / "socket"


def answering(address: Path, answer: bytes) -> threading.Thread:
    """Answer one request with these octets."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()

    def serve() -> None:
        with listener:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_no_socket_and_nobody_behind_it_mean_that_no_daemon_runs(address: Path) -> None:
    """A socket that a killed daemon left is no daemon."""
    client = Client(address)

    with pytest.raises(DaemonDownError):
        client.get("/status")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(address))
    assert client.get_if_running("/status") is None


def test_place_in_which_no_socket_can_be_means_that_no_daemon_runs(address: Path) -> None:
    """So a store can be looked at, and a sync made, whatever the configuration calls the socket."""
    address.write_text("a file")

    assert Client(address / "syncd.sock").get_if_running("/status") is None
    assert Client(address.with_name("s" * 120)).get_if_running("/status") is None
    with pytest.raises(DaemonDownError):
        next(Client(address.with_name("s" * 120)).follow("/events"))


def test_daemon_that_takes_no_more_connections_does_not_answer(address: Path) -> None:
    """It has not gone away: who asks again later may be answered."""
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(str(address))
        listener.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(str(address))

        with pytest.raises(SyncdError, match="does not answer"):
            Client(address).get("/status")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 400 Bad\r\nContent-Length: 27\r\n\r\n" + b'{"error": "no such account"}'[:-1] + b"", "understood"),
        (b'HTTP/1.1 400 Bad\r\nContent-Length: 28\r\n\r\n{"error": "no such account"}', "no such account"),
        (b"HTTP/1.1 500 Bad\r\nContent-Length: 2\r\n\r\n[]", "what is not understood"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "went away"),
        (b"", "went away"),
        (b"220 imap.example.org\r\n", "went away"),
    ],
)
def test_answer_that_is_no_success_is_one_sentence(address: Path, answer: bytes, said: str) -> None:
    """The daemon's reason where it gives one, and never a traceback."""
    thread = answering(address, answer)

    with pytest.raises(SyncdError, match=said):
        Client(address).get("/status")
    thread.join()


def test_daemon_that_hangs_is_not_waited_for_for_ever(address: Path) -> None:
    """A request has a deadline."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()

        with pytest.raises(SyncdError, match="does not answer"):
            Client(address).get("/status", timeout_s=0.05)


def test_answer_of_another_version_is_told_in_words() -> None:
    """A daemon of before a field came is restarted, not debugged."""
    with pytest.raises(SyncdError, match="of another version: restart it"):
        decoded(STATUS_JSON, b'{"at": 1.0, "accounts": []}')
