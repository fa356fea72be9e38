"""Sessions of the custody chain against a scripted server, one or several, with a maildrop to lose."""

from collections import Counter
from pathlib import Path

from syncd.errors import SyncdError
from syncd.pop3.connection import Connection
from syncd.pop3.endpoint import Limits
from syncd.pop3.ingest import IngestLimits, IngestReport, ingest
from tests.unit.pop3.ledger import Ledger
from tests.unit.pop3.scripted import QUICK, Hook, Mail, Reply, ScriptedServer, Session

SMALL_BATCHES = IngestLimits(batch_messages=2)


def mails() -> list[Mail]:
    """Return six messages, two of them equal, one of them empty."""
    bodies = [b"one\r\n", b"twin\r\n", b".dots\r\n..\r\n", b"twin\r\n", b"", b"x" * 5000 + b"\r\n"]
    return [Mail(f"uidl-{number}", octets) for number, octets in enumerate(bodies, 1)]


CONTENTS = Counter(mail.octets for mail in mails())


async def session(
    server: ScriptedServer,
    ledger: Ledger,
    spool: Path,
    *,
    limits: Limits = QUICK,
    batches: IngestLimits = SMALL_BATCHES,
) -> IngestReport:
    """Run one session."""
    async with await Connection.open(server.endpoint(), limits) as connection:
        await connection.login("someone", "secret")
        return await ingest(connection, ledger, spool=spool, limits=batches)


async def sessions(
    server: ScriptedServer, ledger: Ledger, spool: Path, *, count: int, limits: Limits = QUICK
) -> list[IngestReport | SyncdError]:
    """Run sessions one after the other, whatever becomes of each."""
    results: list[IngestReport | SyncdError] = []
    for _ in range(count):
        try:
            results.append(await session(server, ledger, spool, limits=limits))
        except SyncdError as error:  # the next poll goes on
            results.append(error)
        await server.idle()
    return results


def has_files(directory: Path) -> bool:
    """Tell whether a spooled body was left behind."""
    return any(directory.iterdir())


class Watched:
    """Check at every DELE that the message is in the ledger already, then let `inner` decide."""

    def __init__(self, ledger: Ledger, inner: Hook | None = None) -> None:
        self.ledger = ledger
        self.inner = inner
        self.server: ScriptedServer | None = None
        self.violations: list[str] = []

    def __call__(self, session: Session, line: str) -> Reply | None:
        verb, _, argument = line.partition(" ")
        if verb == "DELE" and self.server:
            octets = self.server.mails[int(argument) - 1].octets
            if octets not in self.ledger.contents:
                self.violations.append(line)
        return self.inner(session, line) if self.inner else None
