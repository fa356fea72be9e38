"""What a service manager hears of the daemon, on the socket that it named: sd_notify(3), sd_watchdog_enabled(3)."""

import os
import re
import secrets
import select
import signal
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.servers.daemon import Daemon
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, imap_account

MakeDaemon = Callable[..., Daemon]
HEARD_S = 20.0
WATCHDOG_S = 0.6
SILENCE_S = 5 * WATCHDOG_S / 3
"""Five times the step in which the daemon speaks."""


class Manager:
    """Take what a service says, one datagram at a time."""

    def __init__(self, directory: Path, *, is_abstract: bool = False) -> None:
        name = f"syncd-test-{secrets.token_hex(8)}"
        self.address = f"@{name}" if is_abstract else str(directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name}" if is_abstract else self.address)
        self.heard: list[str] = []

    def close(self) -> None:
        self._socket.close()

    def hear(self, within_s: float) -> tuple[str, ...]:
        """Return the lines of the next datagram; none when nothing came in time."""
        if not select.select([self._socket], [], [], max(within_s, 0))[0]:
            return ()
        lines = tuple(self._socket.recv(4096).decode().split("\n"))
        self.heard += lines
        return lines

    def wait_for(self, line: str) -> tuple[str, ...]:
        """Return the datagram that has this line; AssertionError when none came in time."""
        until = time.monotonic() + HEARD_S
        while time.monotonic() < until:
            if line in (lines := self.hear(until - time.monotonic())):
                return lines
        raise AssertionError(f"not heard within {HEARD_S:g} s: {line}, but {self.heard}")

    def wait_for_silence_of(self, line: str) -> None:
        """Return once a line was not heard for longer than it ever should be."""
        until = time.monotonic() + HEARD_S
        quiet_since = time.monotonic()
        while (now := time.monotonic()) - quiet_since < SILENCE_S:
            assert now < until, f"still heard: {line}"
            if line in self.hear(quiet_since + SILENCE_S - now):
                quiet_since = time.monotonic()


@pytest.fixture
def manager() -> Iterator[Callable[..., Manager]]:
    """Yield a function that makes a manager."""
    made: list[Manager] = []
    with tempfile.TemporaryDirectory(prefix="syncd-test-", dir="/tmp") as directory:

        def make(**keys: bool) -> Manager:
            made.append(Manager(Path(directory), **keys))
            return made[-1]

        yield make
        for one in made:
            one.close()


@contextmanager
def held(store: Path) -> Iterator[None]:
    """Let nobody else write to a store."""
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def filled(pipe: int) -> Iterator[None]:
    """Let whoever writes to a pipe wait for its reader."""
    end = os.open(f"/proc/self/fd/{pipe}", os.O_RDWR | os.O_NONBLOCK)  # which is a description of our own
    try:
        with suppress(BlockingIOError):
            while os.write(end, b"\n" * 4096):
                pass
        yield
        with suppress(BlockingIOError):
            while os.read(end, 65536):
                pass
    finally:
        os.close(end)


def test_manager_is_told_when_the_daemon_serves_how_it_is_and_that_it_stops(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, manager: Callable[..., Manager]
) -> None:
    """READY means that store and socket can be used; STATUS names who fails and why; one that cannot start says so."""
    heard = manager()
    accounts = {
        "work": imap_account(dovecot, mail_user),
        "wrong": imap_account(dovecot, f"{mail_user}w", password="not-the-one"),
    }
    daemon = make_daemon(accounts, environment={"NOTIFY_SOCKET": heard.address})

    daemon.launch()
    ready = heard.wait_for("READY=1")
    health = daemon.request("GET", "/health")
    error = 'login refused by the server: "Authentication failed."; waiting does not help'
    heard.wait_for(f"STATUS=2 accounts, 1 idle, 1 failing: wrong: {error}; 2 devices, 2 idle")
    second = daemon.syncd("run")
    failed = heard.wait_for(f"STATUS=failed: {second.stderr.removeprefix('syncd: ').strip()}")
    code = daemon.stop()
    heard.wait_for("STOPPING=1")

    assert ready == ("READY=1",)
    assert health[0] == 200
    assert (second.returncode, len(failed)) == (1, 1)
    assert heard.heard.count("READY=1") == 1
    assert "WATCHDOG=1" not in heard.heard
    assert code == 0


def test_watchdog_is_fed_only_while_store_and_event_loop_go_on(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, manager: Callable[..., Manager]
) -> None:
    """Silence while the writer waits for the store, or the loop for the log; killed, it says where it was."""
    heard = manager(is_abstract=True)
    reading, log = os.pipe()
    environment = {"NOTIFY_SOCKET": heard.address, "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6))}
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)}, environment=environment)

    daemon.launch(log=log)
    heard.wait_for("READY=1")
    heard.wait_for("STATUS=1 account, 1 idle; 2 devices, 2 idle")
    with held(daemon.store):
        deliver(dovecot, mail_user, 1)
        heard.wait_for_silence_of("WATCHDOG=1")
    heard.wait_for("WATCHDOG=1")
    with filled(log):
        deliver(dovecot, mail_user, 1, first=1)
        heard.wait_for_silence_of("WATCHDOG=1")
    heard.wait_for("WATCHDOG=1")
    limits = Path(f"/proc/{daemon.pid}/limits").read_text()
    os.kill(daemon.pid, signal.SIGABRT)  # as systemd does
    code = daemon.wait()
    os.close(log)
    with os.fdopen(reading) as lines:
        last_words = lines.read()

    assert re.search(r"^Max core file size +0 ", limits, re.MULTILINE), "a core dump would hold passwords"
    assert code == -signal.SIGABRT
    assert "most recent call first" in last_words
    assert "store/engine/writer.py" in last_words
