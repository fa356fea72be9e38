"""Deleted messages are found as a person names them, and one that is wanted back is an upload without a file."""

from functools import partial

from sqlalchemy import update

from syncd.mail.uidset import UidSet
from syncd.store.bodies import bodies
from syncd.store.due import recoveries
from syncd.store.due.recoveries import DeletedMessage
from syncd.store.files import settled_uploads, uploads
from syncd.store.files.settled_uploads import Settled
from syncd.store.files.uploads import Bringers
from syncd.store.tables.schema import replica
from syncd.store.trees import accounts, server_tree
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove

SEEN, DELETED = frozenset({"\\Seen", "kept"}), frozenset({"\\Deleted"})


def vanish(grove: Grove, *uids: int, at: float = NOW) -> None:
    gone = UidSet.of(uids)
    grove(lambda conn: server_tree.record_vanished(conn, grove.inbox, UIDVALIDITY, gone, now=at))


def search(grove: Grove, *, drafts: tuple[int, ...] = (), since: float | None = None) -> tuple[DeletedMessage, ...]:
    devices = {grove.laptop.device_id, grove.phone.device_id}
    where = {"account_ids": [grove.account_id], "devices": devices, "mailbox_ids": [grove.inbox]}
    return grove(lambda conn: recoveries.search(conn, **where, drafts=drafts, since=since))  # type: ignore[arg-type]


def named(grove: Grove, name: str) -> list[int]:
    where = {"account_ids": [grove.account_id], "devices": ()}
    found = grove(lambda conn: recoveries.named(conn, name, **where))  # type: ignore[arg-type]
    return [one.row.message_id for one in found]


def test_gone_messages_are_found_by_time_number_and_message_id(grove: Grove) -> None:
    """Those that are there are not; whether a device that is served has a file still is told of each."""
    first, second, _ = grove.plant(1, 2, 3)
    grove.deliver(grove.phone, second)
    vanish(grove, 1)
    vanish(grove, 2, at=NOW + 10)
    assert not any(one.row.has_file for one in search(grove)), "nobody has looked at what it has"
    grove(lambda conn: conn.execute(update(replica).where(replica.c.id == grove.phone.id).values(listed_at=NOW)))

    assert [(one.row.message_id, one.row.has_file) for one in search(grove)] == [(first, False), (second, True)]
    assert [one.row.message_id for one in search(grove, since=NOW + 1)] == [second]
    assert named(grove, str(first)) == [first]
    assert named(grove, "999999999999999999999999") == []
    assert named(grove, "<nothing@example.org>") == []


def test_older_version_of_a_draft_is_no_deleted_message(grove: Grove) -> None:
    """It has the Message-ID of a newer one; a draft that nothing came after is one."""
    octets = [b"Message-ID: <d%d@example.org>\r\n\r\n%s" % (grove.inbox, text) for text in (b"old", b"new")]
    grove.observe(*(server_tree.ObservedMessage(uid, SEEN, 1, 20, 500 + uid) for uid in (1, 2)))
    ids = grove.message(1).id, grove.message(2).id
    stored = dict(zip(ids, map(grove.body, octets), strict=True))
    grove(lambda conn: server_tree.bind_bodies(conn, grove.inbox, stored))
    vanish(grove, 1, 2)

    assert [one.row.message_id for one in search(grove, drafts=(grove.inbox,))] == [ids[1]]
    assert [one.row.message_id for one in search(grove)] == [*ids]
    assert named(grove, f"d{grove.inbox}@example.org") == [*ids]


def test_message_that_is_wanted_back_is_an_upload_without_a_file(grove: Grove) -> None:
    """With flags, date and body as they were, but for the mark of the expunge; settled, nothing of it is left."""
    (message_id,) = grove.plant(1, flags=SEEN | DELETED)
    vanish(grove, 1)
    target = grove(partial(accounts.mailbox_by_id, mailbox_id=grove.archive))
    grove(lambda conn: recoveries.want_back(conn, [message_id], target, now=NOW))

    def due() -> tuple[uploads.Upload, ...]:
        of = Bringers(frozenset(), frozenset({grove.archive}))
        return grove(lambda conn: uploads.due(conn, account_id=grove.account_id, of=of, now=NOW))

    (one,) = due()
    assert (one.wanted_id, one.file_id, one.device_id, one.own) == (message_id, None, None, None)
    assert (one.mailbox_id, one.flags, one.mtime) == (grove.archive, SEEN, 501)
    assert one.body_id in grove(lambda conn: bodies.body_facts(conn, [one.body_id]))
    assert search(grove)[0].row.is_underway
    nowhere = Bringers(frozenset(), frozenset())
    assert grove(lambda conn: uploads.due(conn, account_id=grove.account_id, of=nowhere, now=NOW)) == ()

    grove(lambda conn: settled_uploads.forget_filed(conn, account_id=grove.account_id, now=NOW + 1e9))
    assert due() == (one,)
    assert grove(lambda conn: settled_uploads.settle(conn, [Settled(one, message_id)], now=NOW)) == {one.id}
    assert due() == ()
