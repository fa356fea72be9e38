"""fetchmail with safecat, which syncs each message: a maildrop into one Maildir, which is deleted from the server."""

from pathlib import Path

from tests.benchmarks import measure
from tests.benchmarks.measure import Effort
from tests.benchmarks.peers import Account, make_maildir
from tests.benchmarks.peers.programs import find


class Fetchmail:
    """Drain a maildrop into one Maildir."""

    name = "fetchmail"

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._program = find("fetchmail", "fetchmail", "safecat")
        self._delivery = find("safecat", "fetchmail", "safecat")
        self.roots = (directory / "device1",)

    def configure(self, account: Account) -> None:
        make_maildir(self.roots[0])
        delivery = f"{self._delivery.command[0]} {self.roots[0]}/tmp {self.roots[0]}/new"
        rc = self._directory / "rc"
        rc.write_text(
            f"""
set no bouncemail
poll {account.host} service {account.port} protocol POP3 auth password
  user "{account.user}" password "{account.password}" sslproto ""
  no rewrite no keep fetchall mda "{delivery}"
"""
        )
        rc.chmod(0o700)

    def sync(self) -> Effort:
        command = (*self._program.command, "-f", str(self._directory / "rc"), "--silent", "--invisible")
        environment = {**self._program.environment, "FETCHMAILHOME": str(self._directory)}
        return measure.run(command, self._directory / "log", environment)
