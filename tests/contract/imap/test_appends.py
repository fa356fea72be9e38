"""Messages are appended alike with and without MULTIAPPEND and LITERAL+, each with its own outcome."""

from collections.abc import AsyncIterator, Iterator

import pytest

from syncd.imap.commands.appends import NewMessage, NotAppended
from syncd.imap.commands.bodies import Body, Wanted
from syncd.imap.commands.rows import Items
from syncd.imap.connection import ImapConnection
from syncd.imap.types import Appended
from syncd.imap.wire.arguments import Streamed
from tests.contract.imap.conftest import everything, running
from tests.servers.capabilities import NO_LITERAL_PLUS, NO_MULTIAPPEND
from tests.servers.dovecot import Dovecot

SERVERS = {"everything": None, "no-multiappend": NO_MULTIAPPEND, "no-literal-plus": NO_LITERAL_PLUS}


class Spool(list[bytes]):
    """A spool in memory."""

    def write(self, piece: bytes) -> None:
        self.append(piece)

    def discard(self) -> None:
        self.clear()


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    """Yield a Dovecot that offers so much."""
    with running(tmp_path_factory.mktemp("appends"), SERVERS[request.param]) as dovecot:
        yield dovecot


def message(number: int) -> bytes:
    return b"Subject: %d\r\n\r\n" % number + b"%d\r\n" % number * number


async def bodies_of(connection: ImapConnection) -> dict[int, bytes]:
    await connection.select(b"INBOX")
    wanted = [Wanted(uid, 1000) for uid in await connection.search_uids("ALL")]
    found = {}
    async for one in connection.fetch_bodies(wanted, spool=lambda _: Spool()):
        assert isinstance(one, Body)
        found[one.uid] = b"".join(one.content) if isinstance(one.content, Spool) else one.content  # type: ignore[arg-type]  # no other spool
    return found


async def test_messages_arrive_with_flags_and_dates(connection: ImapConnection) -> None:
    """Small, large and streamed messages are where their outcomes say, as they were sent."""
    streamed = b"Subject: streamed\r\n\r\n" + b"0123456789abcdef" * 200_000

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(streamed), 100_000):
            yield streamed[at : at + 100_000]

    sent = [message(number) for number in range(1, 131)]
    messages = [NewMessage(body, frozenset({f"k{n % 7}"}), 1_000_000_000 + n) for n, body in enumerate(sent)]
    messages.insert(50, NewMessage(Streamed(len(streamed), pieces()), frozenset({"\\Seen"}), 981_000_000))
    sent.insert(50, streamed)

    outcomes = [one async for one in connection.append_many(b"INBOX", messages)]

    found = await bodies_of(connection)
    places = {one.uid: n for n, one in enumerate(outcomes) if isinstance(one, Appended)}
    assert {uid: sent[n] for uid, n in places.items()} == found
    assert len(found) == 131
    rows = [row async for batch in connection.fetch_rows(everything(), items=Items.ALL) for row in batch]
    assert {row.uid: (messages[places[row.uid]].flags, messages[places[row.uid]].internaldate) for row in rows} == {
        row.uid: (row.flags, row.internaldate) for row in rows
    }


async def test_refused_message_does_not_cost_the_others(connection: ImapConnection) -> None:
    """An empty message and one with a keyword that the server cannot hold are refused; their neighbours arrive."""
    messages = [NewMessage(message(number)) for number in range(1, 6)]
    messages[1] = NewMessage(message(2), frozenset({"k" * 200}))
    messages[3] = NewMessage(b"")

    outcomes = [one async for one in connection.append_many(b"INBOX", messages)]

    assert [isinstance(one, NotAppended) for one in outcomes] == [False, True, False, True, False]
    sent = {one.uid: message(number) for number, one in enumerate(outcomes, start=1) if isinstance(one, Appended)}
    assert await bodies_of(connection) == sent


async def test_missing_mailbox_refuses_all_and_can_be_made(connection: ImapConnection) -> None:
    """Where there is no mailbox every outcome says so; once it is made all arrive."""
    messages = [NewMessage(message(number)) for number in range(1, 4)]

    refused = [one async for one in connection.append_many(b"New", messages)]
    await connection.create(b"New")
    accepted = [one async for one in connection.append_many(b"New", messages)]

    assert [one.error.code for one in refused if isinstance(one, NotAppended)] == ["TRYCREATE"] * 3
    assert [one.uid for one in accepted if isinstance(one, Appended)] == [1, 2, 3]
