"""OfflineIMAP3 with its SQLite status: one Maildir tree."""

from pathlib import Path

from tests.benchmarks import measure
from tests.benchmarks.measure import Effort
from tests.benchmarks.peers import Account
from tests.benchmarks.peers.programs import find


class OfflineImap3:
    """Keep one Maildir tree."""

    name = "offlineimap3"

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._program = find("offlineimap", "offlineimap3", "python3-imaplib2", "python3-distro")
        self.roots = (directory / "device1",)

    def configure(self, account: Account) -> None:
        for name, fsync in (("rc", "true"), ("hasty-rc", "false")):
            (self._directory / name).write_text(
                f"""
[general]
accounts = mail
metadata = {self._directory}/metadata
fsync = {fsync}

[Account mail]
localrepository = device
remoterepository = server

[Repository device]
type = Maildir
localfolders = {self.roots[0]}

[Repository server]
type = IMAP
remotehost = {account.host}
remoteport = {account.port}
remoteuser = {account.user}
remotepass = {account.password}
ssl = no
starttls = no
auth_mechanisms = LOGIN
folderfilter = lambda name: name == "INBOX" or name.startswith("box")
"""
            )

    def sync(self, *, is_durable: bool = True) -> Effort:
        """Run once. is_durable: with fsync, as by default."""
        rc = self._directory / ("rc" if is_durable else "hasty-rc")
        command = (*self._program.command, "-c", str(rc), "-o", "-u", "quiet")
        return measure.run(command, self._directory / "log", self._program.environment)
