"""The verbs of IMAP against real servers of three kinds."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest

from syncd.errors import ConnectionLostError, LoginRefusedError, Reach, RefusedError
from syncd.imap.commands.bodies import Body, Lack, NoBody, Wanted
from syncd.imap.commands.headers import Header
from syncd.imap.commands.rows import Items
from syncd.imap.connection import ImapConnection
from syncd.imap.effects.perform import FlagChange, Stored, store_changes
from syncd.imap.news.observe import Rung
from syncd.imap.news.push import wait_for_news
from syncd.imap.wire.arguments import Streamed
from syncd.imap.wire.endpoint import Endpoint
from syncd.mail.flags import NONE
from syncd.mail.mailbox import SpecialUse, encode_utf7, from_wire
from syncd.mail.message import facts_of
from syncd.mail.uidset import UidSet
from tests.contract.imap.conftest import connect, everything
from tests.servers.capabilities import BASE, NO_PUSH
from tests.servers.dovecot import Dovecot
from tests.unit.imap.appending import append

SEEN = frozenset({"\\Seen"})
NAMES = ("a* b", 'quo"te', "back\\slash", "Entwürfe & Más", "日本/語", "%percent", "(x) {5}", "in{3}")


class List(list[bytes]):
    """A spool in memory."""

    def write(self, piece: bytes) -> None:
        self.append(piece)

    def discard(self) -> None:
        self.clear()


async def bodies_of(connection: ImapConnection, wanted: list[Wanted]) -> dict[int, bytes]:
    found = {}
    async for one in connection.fetch_bodies(wanted, spool=lambda _: List()):
        assert isinstance(one, Body)
        content = one.content
        found[one.uid] = b"".join(content) if isinstance(content, List) else content
    return found


async def test_names_of_any_kind_round_trip(server: Dovecot, mail_user: str, connection: ImapConnection) -> None:
    """LIST, STATUS and SELECT work for every name that a server can have, with its counts and special use."""
    with server.imap(mail_user) as client:
        for name in NAMES:
            quoted = encode_utf7(name).decode().replace("\\", "\\\\").replace('"', '\\"')
            client.create(f'"{quoted}"')
            client.append(f'"{quoted}"', "", "", b"a: b\r\n\r\n")

    listed = {entry.octets: entry for entry in await connection.list_mailboxes(with_status=True)}

    for name in NAMES:
        entry = listed[encode_utf7(name)]
        assert from_wire(entry.octets, entry.delimiter).parts == tuple(name.split("/"))
        status = await connection.status(entry.octets)
        assert status.messages == 1
        assert entry.status == status
        selected = await connection.select(entry.octets)
        assert (selected.exists, selected.uidvalidity) == (1, status.uidvalidity)
    assert SpecialUse.TRASH in listed[b"Trash"].attributes


async def test_missing_mailbox_is_that_mailboxes_trouble(connection: ImapConnection) -> None:
    """A refusal names its reach and leaves the connection good."""
    with pytest.raises(RefusedError) as refused:
        await connection.select(b"Nowhere")

    assert refused.value.reach is Reach.MAILBOX
    assert connection.selected is None
    await connection.select(b"INBOX")


async def test_mailboxes_are_made_with_any_name(server: Dovecot, mail_user: str, connection: ImapConnection) -> None:
    """A mailbox that was made is listed, subscribed and usable; making it again changes nothing."""
    for name in NAMES:
        await connection.create(encode_utf7(name), special_use=SpecialUse.ARCHIVE)
        await connection.create(encode_utf7(name))
        await connection.subscribe(encode_utf7(name))

    assert {encode_utf7(name) for name in NAMES} <= {entry.octets for entry in await connection.list_mailboxes()}
    with server.imap(mail_user) as client:
        subscribed = [repr(line) for line in client.lsub()[1]]
    assert len(NAMES) == len(subscribed)


async def test_wrong_password_is_final(server: Dovecot) -> None:
    """The server's refusal of a password is told as what it is."""
    connection = await ImapConnection.open(Endpoint(server.host, server.imaps_port, ca_file=server.ca_file))
    with pytest.raises(LoginRefusedError) as refused:
        await connection.login("ana", "not the password")
    await connection.aclose()

    assert refused.value.code == "AUTHENTICATIONFAILED"


async def test_starttls_with_a_real_server(server: Dovecot) -> None:
    """Encryption begun on the plain port is verified like any."""
    endpoint = Endpoint(server.host, server.imap_port, "starttls", ca_file=server.ca_file)
    connection = await ImapConnection.open(endpoint)
    await connection.login("ana", server.password)
    assert "STARTTLS" not in connection.capabilities
    await connection.logout()


async def test_thousand_bodies_arrive_as_they_were_sent(
    server: Dovecot, mail_user: str, connection: ImapConnection
) -> None:
    """Pipelined batches of interleaving servers lose, swap and alter nothing."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sent = [b"Subject: %d\r\n\r\n" % n + chance.randbytes(chance.randrange(6000)).hex().encode() for n in range(1000)]
    where = await asyncio.gather(*(append(connection, b"INBOX", body) for body in sent))
    selected = await connection.select(b"INBOX")
    rows = [row async for batch in connection.fetch_rows(everything(), items=Items.ALL) for row in batch]

    found = await bodies_of(connection, [Wanted(row.uid, row.size_bytes or 0) for row in reversed(rows)])

    assert selected.exists == len(rows) == 1000
    assert {place.uid: body for place, body in zip(where, sent, strict=True) if place} == found


async def test_headers_tell_messages_apart_without_their_bodies(
    server: Dovecot, mail_user: str, connection: ImapConnection
) -> None:
    """A header has the same digest alone as in its message, however odd or large the message is."""
    large = b"Subject: large\r\n" + b"X: %s\r\n" % (b"y" * 900) * 400
    odd = [
        b"a: b\r\n\r\nx",
        b"a: b\r\n",
        b"no colon",
        b"\r\nonly a body",
        b"a: b\n\nlf",
        b"a: b\r\n\r\n\r\n",
        large + b"\r\nx",
    ]
    for message in odd:
        server.deliver(mail_user, "INBOX", message)
    await connection.select(b"INBOX")
    uids = UidSet.span(1, len(odd))

    found = {one.uid: one async for one in connection.fetch_headers(uids | UidSet.of([99]))}

    bodies = await bodies_of(connection, [Wanted(uid, 100) for uid in uids])
    assert NoBody(99, Lack.ABSENT) == found.pop(99)
    assert {uid: facts_of([body]).header_digest for uid, body in bodies.items()} == {
        uid: facts_of([one.octets]).header_digest for uid, one in found.items() if isinstance(one, Header)
    }


async def test_large_message_streams_in_both_directions(connection: ImapConnection) -> None:
    """Ten megabytes are appended from pieces and fetched into a spool."""
    head = b"Subject: large\r\n\r\n"
    piece = b"0123456789abcdef" * 4096
    size = len(head) + 160 * len(piece)

    async def pieces() -> AsyncIterator[bytes]:
        yield head
        for _ in range(160):
            yield piece

    appended = await append(connection, b"INBOX", Streamed(size, pieces()), flags=SEEN, internaldate=981_000_000)
    await connection.select(b"INBOX")
    rows = [row async for batch in connection.fetch_rows(everything(), items=Items.ALL) for row in batch]
    found = await bodies_of(connection, [Wanted(1, size)])

    assert appended is not None
    assert (appended.uid, size, 981_000_000, SEEN) == (1, rows[0].size_bytes, rows[0].internaldate, rows[0].flags)
    assert found == {1: head + piece * 160}


async def test_streamed_append_that_breaks_its_word_stores_nothing(server: Dovecot, mail_user: str) -> None:
    """Fewer octets than announced cannot be taken back, so the connection ends and the message never was."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a: b\r\n\r\n"

    connection = await connect(server, mail_user)
    with pytest.raises(ValueError, match="not as long as announced"):
        await append(connection, b"INBOX", Streamed(100, pieces()))
    assert not connection.is_usable
    other = await connect(server, mail_user)
    assert (await other.status(b"INBOX")).messages == 0
    await other.logout()


async def test_flag_changes_have_an_outcome_each(
    server: Dovecot, mail_user: str, connection: ImapConnection, rung: Rung
) -> None:
    """Equal changes share a STORE; with MODSEQs a message that changed meanwhile is named and left alone."""
    for _ in range(5):
        server.deliver(mail_user, "INBOX", b"a: b\r\n\r\n", flags=("\\Draft",))
    selected = await connection.select(b"INBOX")
    with server.imap(mail_user) as client:
        client.select("INBOX")
        client.uid("STORE", "2", "+FLAGS (\\Flagged)")
    draft = frozenset({"\\Draft"})
    changes = [FlagChange(uid, SEEN | {"k1"}, draft) for uid in (1, 2, 3, 99)] + [FlagChange(4, NONE, draft)]

    outcomes = await store_changes(connection, changes, unchanged_since=selected.highestmodseq)

    stored = {one.uid: one.stored for one in outcomes}
    other = Stored.MODIFIED if rung > Rung.LISTING else Stored.APPLIED
    assert stored == {1: Stored.APPLIED, 2: other, 3: Stored.APPLIED, 4: Stored.APPLIED, 99: Stored.SILENT}
    rows = {row.uid: row async for batch in connection.fetch_rows(everything()) for row in batch}
    assert rows[1].flags == rows[3].flags == {"\\Seen", "k1"}
    assert rows[2].flags == ({"\\Draft", "\\Flagged"} if rung > Rung.LISTING else {"\\Seen", "k1", "\\Flagged"})
    assert (rows[4].flags, rows[5].flags) == (frozenset(), draft)
    assert {one.uid: one.row.modseq for one in outcomes if one.row and one.stored is Stored.APPLIED} == {
        uid: rows[uid].modseq if rung > Rung.LISTING else None for uid in stored if stored[uid] is Stored.APPLIED
    }


async def test_news_ends_the_wait(server: Dovecot, mail_user: str, connection: ImapConnection) -> None:
    """A message that arrives is pushed at once, and told once."""
    await connection.select(b"INBOX")
    wait = asyncio.ensure_future(wait_for_news(connection, wake=asyncio.Event(), timeout_s=20))
    await asyncio.to_thread(server.deliver, mail_user, "INBOX", b"a: b\r\n\r\n")

    assert await asyncio.wait_for(wait, 10)
    assert connection.drain_events().exists == 1
    assert not connection.has_events


async def test_wake_ends_the_wait(connection: ImapConnection) -> None:
    """Work of our own ends IDLE at once, and the connection can be used for it."""
    await connection.select(b"INBOX")
    wake = asyncio.Event()
    wait = asyncio.ensure_future(wait_for_news(connection, wake=wake, timeout_s=600))
    asyncio.get_running_loop().call_later(0.1, wake.set)

    assert not await asyncio.wait_for(wait, 5)
    await connection.noop()


async def test_idle_is_renewed(server: Dovecot, mail_user: str, connection: ImapConnection) -> None:
    """News after a renewal is news like any."""
    await connection.select(b"INBOX")
    wait = asyncio.ensure_future(wait_for_news(connection, wake=asyncio.Event(), timeout_s=20, renewal_s=0.05))
    assert not (await asyncio.wait([wait], timeout=0.3))[0]
    await asyncio.to_thread(server.deliver, mail_user, "INBOX", b"a: b\r\n\r\n")

    assert await asyncio.wait_for(wait, 10)


async def test_server_that_dies_ends_the_wait(make_dovecot: Callable[..., Dovecot], mail_user: str) -> None:
    """A connection that is lost in IDLE is felt at once."""
    server = make_dovecot()
    connection = await connect(server, mail_user)
    await connection.select(b"INBOX")
    wait = asyncio.ensure_future(wait_for_news(connection, wake=asyncio.Event(), timeout_s=600))
    await asyncio.to_thread(server.kill)

    with pytest.raises(ConnectionLostError):
        await asyncio.wait_for(wait, 10)


@pytest.mark.parametrize("capability", [NO_PUSH, BASE])
async def test_server_without_idle_is_asked(
    make_dovecot: Callable[..., Dovecot], mail_user: str, capability: str
) -> None:
    """Where nothing can be pushed, the end of the wait asks; a bare server does everything else as well."""
    server = make_dovecot(capability=capability)
    connection = await connect(server, mail_user)
    await connection.select(b"INBOX")
    await asyncio.to_thread(server.deliver, mail_user, "INBOX", b"a: b\r\n\r\nx")

    assert await wait_for_news(connection, wake=asyncio.Event(), timeout_s=0.1)
    assert connection.drain_events().exists == 1
    await append(connection, b"INBOX", b"c: d\r\n\r\n" * 1000)
    await append(connection, b"INBOX", b"e: f\r\n\r\n")
    assert (await connection.search_uids("ALL")) == UidSet.span(1, 3)
    assert b"INBOX" in [entry.octets for entry in await connection.list_mailboxes(with_status=True)]
    assert await bodies_of(connection, [Wanted(1, 1)]) == {1: b"a: b\r\n\r\nx"}
    await connection.unselect()
    await connection.logout()


async def test_unselect_expunges_nothing(make_dovecot: Callable[..., Dovecot], mail_user: str) -> None:
    """Leaving a mailbox without UNSELECT does not remove what is marked \\Deleted."""
    server = make_dovecot(capability=BASE)
    server.deliver(mail_user, "INBOX", b"a: b\r\n\r\n", flags=("\\Deleted",))
    connection = await connect(server, mail_user)
    await connection.select(b"INBOX")

    await connection.unselect()

    assert (await connection.status(b"INBOX")).messages == 1
    await connection.logout()
