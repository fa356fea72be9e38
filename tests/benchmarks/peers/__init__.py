"""The programs that are measured, each behind the same few functions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.benchmarks.measure import Effort
from tests.servers.dovecot import PASSWORD
from tests.servers.ports import HOST


@dataclass(frozen=True, slots=True)
class Account:
    """A user's mail on a server, reached through a port of loopback."""

    port: int
    user: str
    mailboxes: tuple[str, ...] = ("INBOX",)
    host: str = HOST
    password: str = PASSWORD


class Contender(Protocol):
    """A program that keeps Maildirs like an account, or drains an account into them."""

    name: str

    @property
    def roots(self) -> tuple[Path, ...]:
        """Return the directories in which all its Maildirs are, one for each device."""

    def configure(self, account: Account) -> None:
        """Write the configuration; again, when only the port has changed."""

    def sync(self) -> Effort:
        """Do all there is to do, as a process to its end."""


def make_maildir(path: Path) -> None:
    """Make an empty Maildir, for programs that want one to be there."""
    for subdir in ("tmp", "new", "cur"):
        (path / subdir).mkdir(parents=True, exist_ok=True)
