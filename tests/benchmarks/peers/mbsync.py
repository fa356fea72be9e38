"""Debian's isync with its default FSync: one run for every Maildir tree, one after the other."""

from pathlib import Path

from tests.benchmarks import measure
from tests.benchmarks.measure import Effort
from tests.benchmarks.peers import Account
from tests.benchmarks.peers.programs import find


class Mbsync:
    """Keep one Maildir tree for each device; `efforts` are those of its last runs, one for each."""

    name = "mbsync"

    def __init__(self, directory: Path, devices: int = 1) -> None:
        directory.mkdir()
        self._directory = directory
        self._program = find("mbsync", "isync")
        self.roots = tuple(directory / f"device{number}" for number in range(1, devices + 1))
        self.efforts: tuple[Effort, ...] = ()

    def configure(self, account: Account) -> None:
        for root in self.roots:
            root.mkdir(exist_ok=True)
            (self._directory / f"{root.name}.rc").write_text(
                f"""
IMAPAccount account
Host {account.host}
Port {account.port}
User {account.user}
Pass {account.password}
SSLType None
AuthMechs LOGIN

IMAPStore server
Account account

MaildirStore device
Path {root}/
Inbox {root}/INBOX
SubFolders Verbatim

Channel mail
Far :server:
Near :device:
Patterns INBOX box*
Create Near
Expunge Both
CopyArrivalDate yes
SyncState *
"""
            )

    def sync(self, *, is_durable: bool = True) -> Effort:
        """Run once for every device. is_durable: with FSync, as by default."""
        self.efforts = tuple(self._run(root, is_durable=is_durable) for root in self.roots)
        return sum(self.efforts[1:], start=self.efforts[0])

    def _run(self, root: Path, *, is_durable: bool) -> Effort:
        rc = self._directory / f"{root.name}.rc"
        if not is_durable:
            hasty = self._directory / f"{root.name}-hasty.rc"
            hasty.write_text(f"FSync no\n{rc.read_text()}")
            rc = hasty
        command = (*self._program.command, "-c", str(rc), "-q", "mail")
        return measure.run(command, self._directory / "log", self._program.environment)
