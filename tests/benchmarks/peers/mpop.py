"""mpop, which pipelines: a maildrop into one Maildir, which is deleted from the server."""

from pathlib import Path

from tests.benchmarks import measure
from tests.benchmarks.measure import Effort
from tests.benchmarks.peers import Account, make_maildir
from tests.benchmarks.peers.programs import find


class Mpop:
    """Drain a maildrop into one Maildir."""

    name = "mpop"

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._program = find("mpop")
        self.roots = (directory / "device1",)

    def configure(self, account: Account) -> None:
        make_maildir(self.roots[0])
        rc = self._directory / "rc"
        rc.write_text(
            f"""
account mail
host {account.host}
port {account.port}
user {account.user}
password {account.password}
tls off
auth user
keep off
received_header off
delivery maildir {self.roots[0]}
uidls_file {self._directory}/uidls
"""
        )
        rc.chmod(0o600)

    def sync(self) -> Effort:
        command = (*self._program.command, "-C", str(self._directory / "rc"), "-q", "mail")
        return measure.run(command, self._directory / "log", self._program.environment)
