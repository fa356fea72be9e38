"""getmail6: a maildrop into one Maildir, which is deleted from the server."""

from pathlib import Path

from tests.benchmarks import measure
from tests.benchmarks.measure import Effort
from tests.benchmarks.peers import Account, make_maildir
from tests.benchmarks.peers.programs import find
from tests.servers.identity import server_identity


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
        command = (*self._program.command, "--getmaildir", str(self._directory), "--rcfile", "rc")
        return measure.run(command, self._directory / "log", self._program.environment)
