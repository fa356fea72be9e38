"""Messages are copied, moved and expunged alike on servers that offer much and little; no other message is touched."""

from collections.abc import Iterator

import pytest

from syncd.imap.answers.refusals import CopyRefusedError
from syncd.imap.connection import ImapConnection
from syncd.imap.effects.expunges import Expunged, expunge_messages
from syncd.imap.effects.moves import Moved, MoveOutcome, move_messages
from syncd.imap.types import Appended
from syncd.mail.uidset import UidSet
from tests.contract.imap.conftest import everything, running
from tests.servers.capabilities import NO_MOVE, NO_MOVE_NO_UIDPLUS, NO_QRESYNC, NO_UIDPLUS
from tests.servers.delivery import Delivery
from tests.servers.dovecot import Dovecot

SERVERS = {
    "everything": None,
    "no-qresync": NO_QRESYNC,
    "no-move": NO_MOVE,
    "no-uidplus": NO_UIDPLUS,
    "neither": NO_MOVE_NO_UIDPLUS,
}


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    """Yield a Dovecot that offers so much."""
    with running(tmp_path_factory.mktemp("moves"), SERVERS[request.param]) as dovecot:
        yield dovecot


def deliver(server: Dovecot, user: str, count: int) -> None:
    server.deliver_all(user, "INBOX", [Delivery(b"Subject: %d\r\n\r\n" % n, ("\\Seen",)) for n in range(1, count + 1)])


def store_elsewhere(server: Dovecot, user: str, uids: str, what: str) -> None:
    """Change flags as another client does."""
    with server.imap(user) as client:
        client.select("INBOX")
        client.uid("STORE", uids, what)


async def subjects(connection: ImapConnection, mailbox: bytes) -> dict[int, bytes]:
    await connection.select(mailbox)
    found = {}
    async for one in connection.fetch_headers(await connection.search_uids("ALL")):
        found[one.uid] = one.octets.removeprefix(b"Subject: ").strip()  # type: ignore[union-attr]  # all have one
    return found


async def test_copies_are_where_the_server_says(server: Dovecot, mail_user: str, connection: ImapConnection) -> None:
    """Each copied message is named with its new UID; a set beyond one command is copied whole."""
    deliver(server, mail_user, 1100)
    await connection.select(b"INBOX")
    odd = UidSet.of(range(1, 1101, 2))
    assert len(list(odd.pieces(4000))) > 1

    copied = await connection.copy(odd, b"Trash")

    there = await subjects(connection, b"Trash")
    assert copied is not None
    assert {source: b"%d" % source for source in odd} == {source: there[uid] for source, uid in copied.pairs}
    assert connection.selection is not None
    assert connection.selection.uidvalidity == copied.uidvalidity


async def test_moved_messages_are_there_and_not_here(
    server: Dovecot, mail_user: str, connection: ImapConnection
) -> None:
    """Every message that exists is moved with its flags to the UID that the outcome names; one that is gone is not."""
    deliver(server, mail_user, 130)
    await connection.select(b"INBOX")
    uids = UidSet.span(1, 120)

    outcomes = {one.uid: one for one in await move_messages(connection, uids | UidSet.of([999]), b"Trash")}

    assert outcomes.pop(999) == MoveOutcome(999, Moved.SILENT)
    assert {Moved.MOVED} == {one.moved for one in outcomes.values()}
    assert UidSet.span(121, 130) == await connection.search_uids("ALL")
    there = await subjects(connection, b"Trash")
    assert {uid: b"%d" % uid for uid in uids} == {
        uid: there[one.target.uid] for uid, one in outcomes.items() if one.target
    }
    rows = [row async for batch in connection.fetch_rows(everything()) for row in batch]
    assert {frozenset({"\\Seen"})} == {row.flags for row in rows}


async def test_missing_target_is_told_and_costs_nothing(
    server: Dovecot, mail_user: str, connection: ImapConnection
) -> None:
    """Where there is no target every message stays, the code says so, and once it is made the move succeeds."""
    deliver(server, mail_user, 3)
    await connection.select(b"INBOX")
    uids = UidSet.span(1, 3)

    refused = await move_messages(connection, uids, b"New")
    with pytest.raises(CopyRefusedError) as error:
        await connection.copy(uids, b"New")
    await connection.create(b"New")
    moved = await move_messages(connection, uids, b"New")

    assert [(uid, Moved.REFUSED, "TRYCREATE") for uid in uids] == [(one.uid, one.moved, one.code) for one in refused]
    assert error.value.code == "TRYCREATE"
    assert [one.moved for one in moved] == [Moved.MOVED] * 3
    assert await subjects(connection, b"New") == {1: b"1", 2: b"2", 3: b"3"}


async def test_message_that_another_client_deleted_survives_our_move(
    server: Dovecot, mail_user: str, connection: ImapConnection
) -> None:
    """Where only EXPUNGE of everything is left, a moved message stays here, marked and owed, as long as it must."""
    deliver(server, mail_user, 3)
    store_elsewhere(server, mail_user, "3", "+FLAGS (\\Deleted)")
    selected = await connection.select(b"INBOX")

    outcomes = await move_messages(connection, UidSet.span(1, 2), b"Trash")

    is_owed = not (connection.offers("MOVE") or connection.offers("UIDPLUS"))
    assert await subjects(connection, b"Trash") == {1: b"1", 2: b"2"}
    there = connection.selection
    assert there is not None
    assert there.uidvalidity != selected.uidvalidity
    assert [
        MoveOutcome(uid, Moved.COPIED if is_owed else Moved.MOVED, Appended(there.uidvalidity or 0, uid))
        for uid in (1, 2)
    ] == list(outcomes)
    assert ({1, 2, 3} if is_owed else {3}) == set(await subjects(connection, b"INBOX"))


async def test_expunge_takes_ours_and_no_other(server: Dovecot, mail_user: str, connection: ImapConnection) -> None:
    """Ours are expunged or owed, and another client's deleted message stays; what is owed is expunged later."""
    deliver(server, mail_user, 5)
    store_elsewhere(server, mail_user, "5", "+FLAGS (\\Deleted)")
    await connection.select(b"INBOX")
    ours = UidSet.of([1, 3, 99])

    first = {one.uid: one.expunged for one in await expunge_messages(connection, ours)}
    left = await connection.search_uids("ALL")
    store_elsewhere(server, mail_user, "5", "-FLAGS (\\Deleted)")
    second = {one.uid: one.expunged for one in await expunge_messages(connection, ours)}

    gone, silent = Expunged.EXPUNGED, Expunged.SILENT
    if connection.offers("UIDPLUS"):
        assert ({1: gone, 3: gone, 99: silent}, {1: silent, 3: silent, 99: silent}) == (first, second)
        assert UidSet.of([2, 4, 5]) == left
    else:
        assert ({1: Expunged.OWED, 3: Expunged.OWED, 99: silent}, {1: gone, 3: gone, 99: silent}) == (first, second)
        assert UidSet.span(1, 5) == left
    assert UidSet.of([2, 4, 5]) == await connection.search_uids("ALL")


async def test_verbs_that_are_not_offered_are_not_sent(connection: ImapConnection) -> None:
    """MOVE and UID EXPUNGE are for servers that offer them; asking others is a mistake of ours."""
    await connection.select(b"INBOX")
    if not connection.offers("MOVE"):
        with pytest.raises(ValueError, match="move"):
            await connection.move(UidSet.of([1]), b"Trash")
    if not connection.offers("UIDPLUS"):
        with pytest.raises(ValueError, match="expunge"):
            await connection.expunge_uids(UidSet.of([1]))
    await connection.noop()
