"""One suite, three servers: a Dovecot with all its capabilities, one without QRESYNC, one without CONDSTORE."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from syncd.imap.connection import ImapConnection
from syncd.imap.news.observe import (
    Cursor,
    Demoted,
    KnownMailbox,
    Observation,
    Renumbered,
    Rung,
    Selected,
    ServerChanges,
    observe_changes,
)
from syncd.imap.types import FetchRow
from syncd.imap.wire.endpoint import Endpoint
from syncd.mail.flags import Flags
from syncd.mail.uidset import UID_MAX, UidSet
from tests.servers.capabilities import NO_CONDSTORE, NO_QRESYNC
from tests.servers.dovecot import Dovecot
from tests.servers.identity import ServerUnavailable

CAPABILITIES = {Rung.QRESYNC: None, Rung.CONDSTORE: NO_QRESYNC, Rung.LISTING: NO_CONDSTORE}


@pytest.fixture(scope="session", params=list(Rung), ids=lambda rung: rung.name.lower())
def rung(request: pytest.FixtureRequest) -> Rung:
    """Return the rung that the server of this test can stand on."""
    return Rung(request.param)


@pytest.fixture(scope="session")
def server(rung: Rung, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    """Yield a Dovecot that can stand on the rung and on no higher one."""
    with running(tmp_path_factory.mktemp(f"dovecot-{rung.name}"), CAPABILITIES[rung]) as dovecot:
        yield dovecot


@pytest.fixture
async def connection(server: Dovecot, mail_user: str) -> AsyncIterator[ImapConnection]:
    """Yield a connection of the user's, with everything enabled that the server offers."""
    connection = await connect(server, mail_user)
    yield connection
    await connection.logout()


@contextmanager
def running(root_dir: Path, capability: str | None) -> Iterator[Dovecot]:
    """Run a Dovecot that announces `capability`, None for all; the test is skipped where none can be had."""
    try:
        dovecot = Dovecot(root_dir, capability=capability)
    except ServerUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with dovecot:
        yield dovecot


async def connect(server: Dovecot, user: str) -> ImapConnection:
    connection = await ImapConnection.open(Endpoint(server.host, server.imaps_port, ca_file=server.ca_file))
    await connection.login(user, server.password)
    await connection.enable("QRESYNC")
    return connection


@dataclass
class Mirror:
    """What a store would hold of a mailbox: it knows nothing but what observations say."""

    octets: bytes = b"INBOX"
    cursor: Cursor | None = None
    ceiling: Rung = Rung.QRESYNC
    asked_for_uids: int = 0

    def __post_init__(self) -> None:
        self.rows: dict[int, FetchRow] = {}
        self.demotions: list[Demoted] = []
        self.rung: Rung | None = None
        self.told: set[int] = set()

    async def uids(self, among: UidSet | None) -> UidSet:
        self.asked_for_uids += 1
        return UidSet.of(self.rows) if among is None else UidSet.of(self.rows) & among

    async def observe(self, connection: ImapConnection) -> Renumbered | None:
        """Follow one observation; `told` is the UIDs that it had rows for."""
        cursor = self.cursor or await self.begin(connection)
        self.told, self.asked_for_uids, self.demotions = set(), 0, []
        known = KnownMailbox(cursor, self.uids)
        renumbered = None
        async for seen in observe_changes(connection, self.octets, known, ceiling=self.ceiling):
            renumbered = self.take(seen) or renumbered
        return renumbered

    async def begin(self, connection: ImapConnection) -> Cursor:
        selected = await connection.select(self.octets)
        assert selected.uidvalidity is not None
        return Cursor(selected.uidvalidity, 1, None, 0)

    def take(self, seen: Observation) -> Renumbered | None:
        match seen:
            case Selected(rung=rung):
                self.rung = rung
            case Renumbered():
                return seen
            case Demoted(rung=rung):
                self.ceiling = rung
                self.demotions.append(seen)
            case ServerChanges(rows, vanished, cursor):
                for row in rows:
                    self.told.add(row.uid)
                    before = self.rows.get(row.uid)
                    if row.size_bytes is not None:
                        self.rows[row.uid] = row
                    elif before is not None:
                        self.rows[row.uid] = before._replace(flags=row.flags, modseq=row.modseq)
                for uid in vanished:
                    del self.rows[uid]
                self.cursor = cursor or self.cursor
        return None

    @property
    def flags(self) -> dict[int, Flags]:
        return {uid: row.flags or frozenset() for uid, row in self.rows.items()}


def everything() -> UidSet:
    return UidSet.span(1, UID_MAX)
