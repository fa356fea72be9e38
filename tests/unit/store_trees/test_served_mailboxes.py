"""Mailboxes of which the store is the server: made once, and messages that come, are copied and leave."""

from sqlalchemy import select

from syncd.mail.flags import SEEN, parse_flags
from syncd.mail.mailbox import MailboxName, SpecialUse
from syncd.store.mailboxes import served_mailboxes
from syncd.store.mailboxes.served_mailboxes import NewMessage
from syncd.store.tables.schema import server_message
from syncd.store.trees import accounts
from syncd.store.trees.accounts import MailboxRow
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove


def ensure(grove: Grove, name: str, use: SpecialUse | None = None, *, now: float = NOW) -> bool:
    mailbox = MailboxName.parse(name)
    return grove(lambda conn: served_mailboxes.ensure_mailbox(conn, grove.account_id, mailbox, use, now=now))


def mailboxes(grove: Grove) -> dict[str, MailboxRow]:
    rows = grove(lambda conn: accounts.mailboxes(conn, account_id=grove.account_id))
    return {str(row.name): row for row in rows}


def put(grove: Grove, *messages: NewMessage, mailbox_id: int | None = None) -> tuple[int, ...]:
    return grove(lambda conn: served_mailboxes.put_messages(conn, mailbox_id or grove.inbox, messages, now=NOW))


def new(grove: Grove, octets: bytes, flags: str = "") -> NewMessage:
    return NewMessage(grove.body(octets), len(octets), 500, parse_flags(flags))


def test_mailbox_is_made_once_and_its_uidvalidity_ascends(grove: Grove) -> None:
    """Also where the clock was set back; one that is there keeps its cursor."""
    assert ensure(grove, "Lists/caf\u00e9")
    put(grove, new(grove, b"a"), mailbox_id=mailboxes(grove)["Lists/caf\u00e9"].id)
    before = mailboxes(grove)
    assert not ensure(grove, "Lists/caf\u00e9", now=NOW + 10)
    assert not ensure(grove, "INBOX", now=NOW + 10)
    assert mailboxes(grove) == before
    assert ensure(grove, "Bin", SpecialUse.TRASH, now=NOW - 10)

    made = mailboxes(grove)
    assert made["Lists/caf\u00e9"].cursor.uidnext == 2
    assert made["Bin"].special_use is SpecialUse.TRASH
    assert made["Bin"].is_listed
    assert UIDVALIDITY < made["Lists/caf\u00e9"].cursor.uidvalidity < made["Bin"].cursor.uidvalidity


def test_messages_get_uids_in_their_order(grove: Grove) -> None:
    """UIDNEXT and the count follow, devices have news, and nothing put changes nothing."""
    first = put(grove, new(grove, b"a"), new(grove, b"b", SEEN))
    version = grove.version()
    second = put(grove, new(grove, b"c"))
    assert put(grove) == ()

    columns = server_message.c
    query = select(columns.id, columns.uid, columns.flags).where(columns.mailbox_id == grove.inbox).order_by(columns.id)
    assert [tuple(row) for row in grove.rows(query)] == [(first[0], 1, ""), (first[1], 2, SEEN), (second[0], 3, "")]
    cursor = mailboxes(grove)["INBOX"].cursor
    assert (cursor.uidnext, cursor.exists_count, grove.version()) == (4, 3, version + 1)


def test_only_what_is_there_is_copied(grove: Grove) -> None:
    """With its flags and its date; a message that left its mailbox lowers the count once, and is no source any more."""
    one, other = put(grove, new(grove, b"a", SEEN), new(grove, b"b"))
    wanted = new(grove, b"a", SEEN)

    for _ in range(2):
        grove(lambda conn: served_mailboxes.take_out(conn, [other], now=NOW))

    assert grove(lambda conn: served_mailboxes.copies_of(conn, [one, other, other + 99])) == {one: wanted}
    assert mailboxes(grove)["INBOX"].cursor.exists_count == 1
    assert {pair.server.id for pair in grove.server_news(grove.laptop).pairs if pair.server} == {one, other}
