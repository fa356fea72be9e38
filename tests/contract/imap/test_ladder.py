"""Whatever rung a server stands on, the same changes are seen; only the cost differs."""

import random

from syncd.imap.commands.rows import Items
from syncd.imap.connection import ImapConnection
from syncd.imap.news.observe import Renumbered, Rung, list_uids
from syncd.imap.types import FetchRow
from syncd.mail.uidset import UidSet
from tests.contract.imap.conftest import Mirror, connect, everything
from tests.servers.dovecot import Dovecot

SEEN, FLAGGED = "\\Seen", "\\Flagged"


def message(number: int) -> bytes:
    return b"Subject: %d\r\nMessage-ID: <%d@example.org>\r\n\r\nbody of %d\r\n" % (number, number, number)


def deliver(server: Dovecot, user: str, *numbers: int) -> None:
    for number in numbers:
        server.deliver(user, "INBOX", message(number))


async def truth(server: Dovecot, user: str) -> dict[int, FetchRow]:
    """Return what the server has, asked over a connection of its own without any cursor."""
    other = await connect(server, user)
    await other.select(b"INBOX")
    rows = {row.uid: row async for batch in other.fetch_rows(everything(), items=Items.ALL) for row in batch}
    await other.logout()
    return rows


def change(server: Dovecot, user: str, uids: str, what: str) -> None:
    """Change flags as another device does."""
    with server.imap(user) as client:
        client.select("INBOX")
        client.uid("STORE", uids, what)


def expunge(server: Dovecot, user: str, uids: str) -> None:
    with server.imap(user) as client:
        client.select("INBOX")
        client.uid("STORE", uids, "+FLAGS (\\Deleted)")
        client.expunge()


async def test_first_observation_brings_every_message(
    server: Dovecot, mail_user: str, connection: ImapConnection
) -> None:
    """From nothing, every row comes in full, and the cursor stands for it."""
    deliver(server, mail_user, *range(1, 31))
    mirror = Mirror()

    await mirror.observe(connection)

    assert await truth(server, mail_user) == mirror.rows
    assert all(row.internaldate and row.size_bytes == len(message(uid)) for uid, row in mirror.rows.items())
    assert mirror.cursor is not None
    assert (mirror.cursor.uidnext, mirror.cursor.count) == (31, 30)


async def test_server_stands_on_its_rung(
    server: Dovecot, mail_user: str, connection: ImapConnection, rung: Rung
) -> None:
    """The rung follows what the server really offers."""
    deliver(server, mail_user, 1)
    mirror = Mirror()

    await mirror.observe(connection)
    await mirror.observe(connection)

    assert mirror.rung is rung
    assert mirror.demotions == []
    assert ("QRESYNC" in connection.enabled) == (rung is Rung.QRESYNC)


async def test_nothing_changed_reads_nothing(
    server: Dovecot, mail_user: str, connection: ImapConnection, rung: Rung
) -> None:
    """At rest a server with MODSEQs tells no row, and nobody asks for the known UIDs."""
    deliver(server, mail_user, *range(1, 11))
    mirror = Mirror()
    await mirror.observe(connection)
    before, cursor = dict(mirror.rows), mirror.cursor

    await mirror.observe(connection)

    assert (before, cursor) == (mirror.rows, mirror.cursor)
    if rung > Rung.LISTING:
        assert (set(), 0) == (mirror.told, mirror.asked_for_uids)


async def test_new_messages_come_in_full(
    server: Dovecot, mail_user: str, connection: ImapConnection, rung: Rung
) -> None:
    """What arrived since then is told with size and date; with MODSEQs nothing else is told."""
    deliver(server, mail_user, 1, 2)
    mirror = Mirror()
    await mirror.observe(connection)
    deliver(server, mail_user, 3, 4)

    await mirror.observe(connection)

    assert await truth(server, mail_user) == mirror.rows
    if rung > Rung.LISTING:
        assert {3, 4} == mirror.told


async def test_flags_and_keywords_follow(
    server: Dovecot, mail_user: str, connection: ImapConnection, rung: Rung
) -> None:
    """Flags set and taken by another device are seen; with MODSEQs only on the messages concerned."""
    deliver(server, mail_user, *range(1, 11))
    change(server, mail_user, "4", "+FLAGS (\\Seen)")
    mirror = Mirror()
    await mirror.observe(connection)
    change(server, mail_user, "2:3", "+FLAGS (\\Flagged $Important)")
    change(server, mail_user, "4", "-FLAGS (\\Seen)")

    await mirror.observe(connection)

    assert {2: {FLAGGED, "$Important"}, 3: {FLAGGED, "$Important"}, 4: frozenset()} == {
        uid: mirror.flags[uid] for uid in (2, 3, 4)
    }
    assert await truth(server, mail_user) == mirror.rows
    if rung > Rung.LISTING:
        assert {2, 3, 4} == mirror.told


async def test_expunged_messages_vanish(server: Dovecot, mail_user: str, connection: ImapConnection) -> None:
    """What another device expunged is reported, in the middle, at the ends, and together with other changes."""
    deliver(server, mail_user, *range(1, 21))
    mirror = Mirror()
    await mirror.observe(connection)
    expunge(server, mail_user, "1,7:9,20")
    deliver(server, mail_user, 21)
    change(server, mail_user, "2", "+FLAGS (\\Seen)")

    await mirror.observe(connection)

    assert set(await truth(server, mail_user)) == set(mirror.rows) == {*range(2, 7), *range(10, 20), 21}
    assert mirror.demotions == []
    assert await truth(server, mail_user) == mirror.rows


async def test_emptied_mailbox_is_seen_as_empty(server: Dovecot, mail_user: str, connection: ImapConnection) -> None:
    """Everything may vanish; that is a fact for others to judge."""
    deliver(server, mail_user, 1, 2, 3)
    mirror = Mirror()
    await mirror.observe(connection)
    expunge(server, mail_user, "1:3")

    await mirror.observe(connection)

    assert mirror.rows == {}
    assert mirror.cursor is not None
    assert (mirror.cursor.uidnext, mirror.cursor.count) == (4, 0)


async def test_message_that_came_and_went_unseen_leaves_no_trace(
    server: Dovecot, mail_user: str, connection: ImapConnection
) -> None:
    """A UID that was never known does not vanish."""
    deliver(server, mail_user, 1)
    mirror = Mirror()
    await mirror.observe(connection)
    deliver(server, mail_user, 2)
    expunge(server, mail_user, "2")

    await mirror.observe(connection)

    assert {1} == set(mirror.rows)
    assert {1} >= mirror.told


async def test_known_uids_that_are_gone_or_missing_are_set_right(
    server: Dovecot, mail_user: str, connection: ImapConnection
) -> None:
    """A store that holds one UID too many, or lacks one, is set right by the count."""
    deliver(server, mail_user, *range(1, 6))
    mirror = Mirror()
    await mirror.observe(connection)
    assert mirror.cursor is not None
    lost = mirror.rows.pop(3)
    mirror.cursor = type(mirror.cursor)(
        mirror.cursor.uidvalidity, mirror.cursor.uidnext, mirror.cursor.highestmodseq, 4
    )

    await mirror.observe(connection)

    assert lost == mirror.rows[3]
    assert mirror.cursor.count == 5


async def test_other_uidvalidity_concludes_nothing(server: Dovecot, mail_user: str, connection: ImapConnection) -> None:
    """After a renumbering only the new UIDVALIDITY is told; the mirror stays as it was."""
    deliver(server, mail_user, 1, 2)
    mirror = Mirror()
    await mirror.observe(connection)
    assert mirror.cursor is not None
    before = dict(mirror.rows)
    cursor = mirror.cursor = type(mirror.cursor)(1, mirror.cursor.uidnext, mirror.cursor.highestmodseq, 2)

    renumbered = await mirror.observe(connection)

    found = await connection.status(b"INBOX")
    assert Renumbered(found.uidvalidity) == renumbered
    assert (before, cursor) == (mirror.rows, mirror.cursor)


async def test_mailbox_that_was_found_unchanged_is_asked_again(
    server: Dovecot, mail_user: str, connection: ImapConnection
) -> None:
    """An observation that follows one in which nothing changed does not live on its answer."""
    deliver(server, mail_user, *range(1, 4))
    mirror = Mirror()
    for _ in range(2):
        await mirror.observe(connection)
    deliver(server, mail_user, 4)

    await mirror.observe(connection)

    assert await truth(server, mail_user) == mirror.rows


async def test_random_histories_converge(server: Dovecot, mail_user: str, connection: ImapConnection) -> None:
    """After any mix of changes one observation is enough to know all that the server has."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    deliver(server, mail_user, *range(1, 9))
    mirror = Mirror()
    await mirror.observe(connection)

    for _ in range(6):
        for _ in range(chance.randrange(1, 4)):
            uids = ",".join(map(str, chance.sample(range(1, 15), 3)))
            what = chance.choice(["deliver", "+FLAGS (\\Seen k1)", "-FLAGS (\\Seen)", "expunge"])
            if what == "deliver":
                deliver(server, mail_user, chance.randrange(100))
            elif what == "expunge":
                expunge(server, mail_user, uids)
            else:
                change(server, mail_user, uids, what)
        await mirror.observe(connection)
        assert await truth(server, mail_user) == mirror.rows

    assert mirror.demotions == []


async def test_listing_of_uids_is_complete(server: Dovecot, mail_user: str, connection: ImapConnection) -> None:
    """The first sync begins with all UIDs, whatever they have gaps."""
    deliver(server, mail_user, *range(1, 8))
    expunge(server, mail_user, "2,5")
    await connection.select(b"INBOX")

    listing = await list_uids(connection)

    assert UidSet.of([1, 3, 4, 6, 7]) == listing.uids
    assert listing.is_complete
