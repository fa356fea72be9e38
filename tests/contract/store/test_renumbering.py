"""Rows that find their messages under a new UIDVALIDITY, on both databases."""

from collections.abc import Collection
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Table, insert, select, update

from syncd.errors import Temper
from syncd.store.engine.database import Database
from syncd.store.mailboxes.renumbering import Renumbered, messages_of, rebind, reclaim, set_adrift
from syncd.store.tables.schema import account, base_message, body, device, mailbox, replica, server_message, trouble
from syncd.store.trees import troubles
from syncd.store.trees.accounts import MailboxCursor

NOW = 1_700_000_000.0
OLD, NEW = 1, 2
CURSOR = MailboxCursor(uidvalidity=NEW, uidnext=100, highestmodseq=7, exists_count=0)


@pytest.fixture
def store(database: Database) -> Database:
    """Return a store with a mailbox without messages, three bodies, and a device's replica."""
    database.write_now(_fill)
    return database


def test_rows_keep_their_identity_and_take_uid_flags_and_modseq(store: Database) -> None:
    """The row of a message that is there again is the same row; new ones are new, others are gone."""
    kept = _add(store, OLD, 1, body_id=1, flags="\\Seen")
    lost = _add(store, OLD, 2, body_id=2)
    store.write_now(lambda conn: _set_aside(conn, lost))
    again = _add(store, NEW, 11, flags="\\Flagged", modseq=5)
    fresh = _add(store, NEW, 12)

    done = _rebind(store, {again: 1, fresh: 3})

    assert done == Renumbered(found=1, new=1, lost=(lost,))
    rows = _rows(store)
    assert again not in rows
    assert (rows[kept].uidvalidity, rows[kept].uid, rows[kept].flags, rows[kept].modseq) == (NEW, 11, "\\Flagged", 5)
    assert (rows[fresh].body_id, rows[fresh].gone_at) == (3, None)
    assert (rows[lost].uidvalidity, rows[lost].gone_at) == (OLD, NOW)
    assert all(rows[id_].version > 1 for id_ in (kept, lost, fresh))
    assert store.read_now(lambda conn: conn.execute(select(trouble)).all()) == []
    assert store.read_now(lambda conn: messages_of(conn, mailbox_id=1, uidvalidity=NEW)) == {11: kept, 12: fresh}


def test_row_whose_body_the_server_does_not_give_stays_without(store: Database) -> None:
    """It is there, and its body may come later."""
    kept = _add(store, OLD, 1, body_id=1)
    again, ungiven = _add(store, NEW, 11), _add(store, NEW, 12)

    done = _rebind(store, {again: 1}, lacking={ungiven})

    assert done == Renumbered(found=1, new=0)
    rows = _rows(store)
    assert {id_ for id_, row in rows.items() if row.gone_at is None} == {kept, ungiven}
    assert (rows[ungiven].uid, rows[ungiven].body_id) == (12, None)


def test_equal_messages_are_paired_by_date_first(store: Database) -> None:
    """Each of them takes one, and the one that is too many is new."""
    early, late = (_add(store, OLD, uid, body_id=1, internaldate=date) for uid, date in ((1, 10), (2, 20)))
    new = [_add(store, NEW, uid, internaldate=date) for uid, date in ((11, 20), (12, 10), (13, 30))]

    done = _rebind(store, dict.fromkeys(new, 1))

    rows = _rows(store)
    assert done == Renumbered(found=2, new=1)
    assert (rows[early].uid, rows[late].uid) == (12, 11)


def test_row_of_an_interrupted_attempt_is_gone_unless_it_is_still_listed(store: Database) -> None:
    """What was expunged between two attempts, or belongs to a UIDVALIDITY that is over, is not there any more."""
    kept = _add(store, OLD, 1, body_id=1)
    expunged, over, again = _add(store, NEW, 11), _add(store, 5, 3), _add(store, NEW, 12)

    done = _rebind(store, {again: 1})

    rows = _rows(store)
    assert (done.found, done.new, set(done.lost)) == (1, 0, {expunged, over})
    assert {id_ for id_, row in rows.items() if row.gone_at is None} == {kept}
    assert {rows[expunged].gone_at, rows[over].gone_at} == {NOW}


def test_row_that_was_gone_is_there_again_only_while_a_replica_has_it(store: Database) -> None:
    """A file that waits at the guard finds its message; what devices have let go of is a new message."""
    held = _add(store, OLD, 1, body_id=1, gone_at=NOW - 9)
    let_go = _add(store, OLD, 2, body_id=2, gone_at=NOW - 9)
    nowhere = _add(store, OLD, 3, body_id=3, gone_at=NOW - 9)
    for id_ in (held, nowhere):
        store.write_now(lambda conn, id_=id_: conn.execute(_BASE.values(message_id=id_)).rowcount)
    first, second = _add(store, NEW, 11), _add(store, NEW, 12)

    done = _rebind(store, {first: 1, second: 2})

    rows = _rows(store)
    assert done == Renumbered(found=1, new=1)
    assert (rows[held].gone_at, rows[held].uid) == (None, 11)
    assert (rows[let_go].gone_at, rows[second].gone_at) == (NOW - 9, None)
    assert rows[nowhere].gone_at == NOW - 9


def test_mailbox_set_adrift_is_found_renumbered(store: Database) -> None:
    """No row has a UID of its UIDVALIDITY any more, and the cursor has another one than the server."""
    there, gone = _add(store, NEW, 7, body_id=1), _add(store, NEW, 8, gone_at=NOW)
    other = _add(store, OLD, 7)
    store.write_now(lambda conn: conn.execute(update(mailbox).values(uidvalidity=NEW)))

    store.write_now(lambda conn: set_adrift(conn, mailbox_id=1, uidvalidity=NEW))
    again = _add(store, NEW, 7)
    store.write_now(lambda conn: set_adrift(conn, mailbox_id=1, uidvalidity=NEW))

    rows = _rows(store)
    assert {rows[id_].uidvalidity for id_ in (there, gone, again)} == {0}
    assert {rows[id_].uid for id_ in (there, gone, again)} == {there, gone, again}
    assert (rows[there].body_id, rows[gone].gone_at, rows[other].uidvalidity) == (1, NOW, OLD)
    assert store.read_now(lambda conn: conn.execute(select(mailbox.c.uidvalidity)).scalar_one()) == 0


def test_lost_messages_take_the_uids_under_which_they_are_there_again(store: Database) -> None:
    """By their bodies, each once; what is another message is left to be bound as a new one."""
    one, twin, other = (
        _add(store, 0, uid, body_id=body_id, gone_at=NOW - 9) for uid, body_id in ((1, 1), (2, 1), (3, 2))
    )
    again, new = _add(store, NEW, 11, flags="\\Seen"), _add(store, NEW, 12)

    left = store.write_now(lambda conn: reclaim(conn, mailbox_id=1, lost=[one, twin, other], bodies={again: 1, new: 3}))

    rows = _rows(store)
    assert left == {new: 3}
    assert (rows[one].uid, rows[one].uidvalidity, rows[one].flags, rows[one].gone_at) == (11, NEW, "\\Seen", None)
    assert (rows[twin].gone_at, rows[other].gone_at, rows[new].body_id) == (NOW - 9, NOW - 9, None)
    assert again not in rows


def _set_aside(conn: Connection, message_id: int) -> None:
    troubles.set_aside(
        conn, mailbox_id=1, message_id=message_id, device_id=None, error="refused", temper=Temper.WAIT, now=NOW
    )


_BASE = insert(base_message).values(replica_id=1, flags="")


def _fill(conn: Connection) -> None:
    _row(conn, account, name="work", kind="imap", identity="x")
    _row(conn, mailbox, account_id=1, name="INBOX", wire_name=b"INBOX", is_selectable=True, is_selected=True, version=1)
    for number in (1, 2, 3):
        _row(
            conn,
            body,
            digest=bytes([number]) * 32,
            header_digest=b"h" * 32,
            size_bytes=3,
            lf_size_bytes=3,
            is_crlf=True,
            codec="plain",
            chunks=1,
            stored_at=NOW,
        )
    _row(conn, device, name="laptop", path="/srv/laptop", layout="fs", state="active")
    _row(conn, replica, device_id=1, mailbox_id=1, directory="INBOX", selection="")


def _add(store: Database, uidvalidity: int, uid: int, **values: Any) -> int:
    whole = {"mailbox_id": 1, "uidvalidity": uidvalidity, "uid": uid, "size_bytes": 3, "internaldate": 1, "version": 1}
    return store.write_now(lambda conn: _row(conn, server_message, **(whole | values)))


def _row(conn: Connection, table: Table, **values: Any) -> int:
    return int(conn.execute(insert(table).values(**values).returning(table.c.id)).scalar_one())


def _rebind(store: Database, bodies: dict[int, int], *, lacking: Collection[int] = ()) -> Renumbered:
    bind = partial(rebind, mailbox_id=1, cursor=CURSOR, bodies=bodies, lacking=lacking, now=NOW)
    return store.write_now(bind)


def _rows(store: Database) -> dict[int, Any]:
    return store.read_now(lambda conn: {row.id: row for row in conn.execute(select(server_message))})
