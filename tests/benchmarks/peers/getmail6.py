"""getmail6: a maildrop into one Maildir, which is deleted from the server."""

import os
import shutil
from pathlib import Path

from tests.benchmarks import measure
from tests.benchmarks.measure import Effort
from tests.benchmarks.peers import Account, make_maildir
from tests.benchmarks.peers.programs import find
from tests.servers.identity import server_identity

_PATIENCE_S = 60
"""How long it waits for the process of its own that delivers a message."""


class Getmail6:
    """Drain a maildrop into one Maildir."""

    name = "getmail6"

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._program = find("getmail", "getmail6")
        self.roots = (directory / "device1",)

    def configure(self, account: Account) -> None:
        user = server_identity()  # NOTE: it refuses to deliver anything as root
        make_maildir(self.roots[0])
        for path in (self.roots[0], *self.roots[0].iterdir()):
            user.give(path)
        (self._directory / "rc").write_text(
            f"""
[retriever]
type = SimplePOP3Retriever
server = {account.host}
port = {account.port}
username = {account.user}
password = {account.password}
timeout = {_PATIENCE_S}

[destination]
type = Maildir
path = {self.roots[0]}/
user = {user.user}

[options]
delete = true
read_all = true
delivered_to = false
received = false
verbose = 0
"""
        )

    def sync(self) -> Effort:
        command = (*_on_one_processor(), *self._program.command, "--getmaildir", str(self._directory), "--rcfile", "rc")
        return measure.run(command, self._directory / "log", self._program.environment)


def _on_one_processor() -> tuple[str, ...]:
    """Return what lets it run on one processor.

    NOTE: it loses a message's process that ends before it waits for it, and gives up. Nothing of it runs side by side.
    """
    processor = min(os.sched_getaffinity(0))
    return ("taskset", "--cpu-list", str(processor)) if shutil.which("taskset") else ()
