"""InterIMAP, which keeps a second IMAP server like the first: another user of the same one, so without Maildir."""

from pathlib import Path

from tests.benchmarks import measure
from tests.benchmarks.measure import Effort
from tests.benchmarks.peers import Account
from tests.benchmarks.peers.programs import find
from tests.servers.dovecot import Dovecot


class Interimap:
    """Keep the mailboxes of a user of its own."""

    name = "interimap"
    roots: tuple[Path, ...] = ()

    def __init__(self, directory: Path, server: Dovecot) -> None:
        directory.mkdir()
        self._directory = directory
        self._server = server
        self._program = find("interimap", "interimap", "libdbi-perl", "libdbd-sqlite3-perl")

    def configure(self, account: Account) -> None:
        rc = self._directory / "rc"
        rc.write_text(
            f"""
database = {self._directory}/interimap.db
list-mailbox = INBOX box*

[local]
type = imap
host = {self._server.host}
port = {self._server.imap_port}
username = of-{self._directory.name}
password = {self._server.password}
STARTTLS = NO

[remote]
type = imap
host = {account.host}
port = {account.port}
username = {account.user}
password = {account.password}
STARTTLS = NO
"""
        )
        rc.chmod(0o600)

    def sync(self) -> Effort:
        command = (*self._program.command, f"--config={self._directory}/rc")
        return measure.run(command, self._directory / "log", self._program.environment)
