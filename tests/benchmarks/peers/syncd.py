"""syncd, as `syncd sync` without a daemon and as a daemon that is asked on its control socket."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from syncd.cli.client import Client
from tests.benchmarks import measure
from tests.benchmarks.measure import Effort, Stretch
from tests.benchmarks.peers import Account
from tests.servers.daemon import Daemon

NAME = "bench"


class Syncd:
    """Keep a number of devices with one store; entering starts a daemon and has it sync, leaving ends it."""

    name = "syncd"

    def __init__(self, directory: Path, devices: int, protocol: Literal["imap", "pop3"] = "imap") -> None:
        directory.mkdir()
        self._directory = directory
        self._protocol = protocol
        self.roots = tuple(directory / f"device{number}" for number in range(1, devices + 1))
        self.daemon: Daemon | None = None
        self.store = directory / "syncd.db"

    def configure(self, account: Account) -> None:
        self.configure_all({NAME: account})

    def configure_all(self, accounts: Mapping[str, Account]) -> None:
        """Write a configuration of several accounts, by name."""
        config = {
            "accounts": {name: self._table(account) for name, account in accounts.items()},
            "devices": {root.name: {"path": str(root)} for root in self.roots},
        }
        if self.daemon is None:
            self.daemon = Daemon(self._directory, config)
        self.daemon.configure(config)

    def sync(self) -> Effort:
        command = (sys.executable, "-m", "syncd", "sync", "--config", self._running.config_file)
        return measure.run(command, self._directory / "log")

    def __enter__(self) -> Self:
        self.start()
        self.ask()  # what follows a start is no part of what is measured
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.stop()

    def start(self) -> None:
        """Start a daemon, and return when it answers."""
        self._running.start()

    def discard(self) -> None:
        """Let nothing run, and remove the socket."""
        if self.daemon is not None:
            self.daemon.discard()

    def ask(self) -> float:
        """Have the daemon sync, and return the seconds until it answered; RuntimeError unless all is synced."""
        client = Client(self._running.socket)
        began = time.monotonic()
        answer = client.post("/sync", b"{}")
        took_s = time.monotonic() - began
        report: dict[str, Any] = json.loads(answer)
        if any(report.values()):
            raise RuntimeError(f"syncd did not sync everything: {report}")
        return took_s

    def measured_ask(self) -> Effort:
        """Have the daemon sync, and return what that took it."""
        with Stretch.over(self._running.pid) as stretch:
            wall_s = self.ask()
        return Effort(wall_s, stretch.effort.cpu_s, stretch.effort.peak_bytes)

    @property
    def pid(self) -> int:
        return self._running.pid

    def maildirs(self, mailbox: str = "INBOX", account: str = NAME) -> Sequence[Path]:
        """Return the directory of a mailbox on every device."""
        return [root / f".{account}.{mailbox}" for root in self.roots]

    @property
    def _running(self) -> Daemon:
        assert self.daemon is not None, "it was not configured"
        return self.daemon

    def _table(self, account: Account) -> dict[str, object]:
        table: dict[str, object] = {
            "type": self._protocol,
            "host": account.host,
            "port": account.port,
            "tls": "none",
            "username": account.user,
            "password": account.password,
        }
        if self._protocol == "imap":
            table |= {"mailboxes": ["INBOX", "box*"], "delete": "expunge"}
        return table
