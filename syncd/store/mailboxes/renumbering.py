"""Floor 3: a mailbox whose UIDVALIDITY changed: rows keep their identity by finding their message under its new UID."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, or_, select, update

from syncd.store.engine.queries import PER_VERSION, groups, is_one_of
from syncd.store.tables.schema import base_message, mailbox, server_message
from syncd.store.trees import history, troubles
from syncd.store.trees.accounts import MailboxCursor, move_cursor
from syncd.store.trees.history import Verb
from syncd.store.trees.server_tree import raise_version
from syncd.values import Value

_ADRIFT = 0
_BY_ID = update(server_message).where(server_message.c.id == bindparam("row_id"))


class Renumbered(Value):
    """Count what became of a mailbox: messages found again, new ones, and those that are not there any more.

    lost: the row ids of the latter.
    """

    found: int
    new: int
    lost: tuple[int, ...] = ()


def set_adrift(conn: Connection, *, mailbox_id: int, uidvalidity: int) -> None:
    """Take the UIDs from the rows of a mailbox: its server, set back, uses them for other messages.

    The rows, and the cursor with them, get the UIDVALIDITY that no server gives, so that whoever comes next, also after
    a restart, finds the mailbox renumbered.
    """
    columns = server_message.c
    of_mailbox = (columns.mailbox_id == mailbox_id, columns.uidvalidity == uidvalidity)
    conn.execute(update(server_message).where(*of_mailbox).values(uidvalidity=_ADRIFT, uid=columns.id))
    conn.execute(update(mailbox).where(mailbox.c.id == mailbox_id).values(uidvalidity=_ADRIFT))


def messages_of(conn: Connection, *, mailbox_id: int, uidvalidity: int) -> Mapping[int, int]:
    """Return the row ids of a mailbox under one UIDVALIDITY, by UID."""
    columns = server_message.c
    query = select(columns.uid, columns.id).where(
        columns.mailbox_id == mailbox_id, columns.uidvalidity == uidvalidity, columns.gone_at.is_(None)
    )
    return {row.uid: row.id for row in conn.execute(query)}


def rebind(
    conn: Connection,
    *,
    mailbox_id: int,
    cursor: MailboxCursor,
    bodies: Mapping[int, int],
    lacking: Collection[int] = (),
    now: float,
) -> Renumbered:
    """Give the rows of older UIDVALIDITYs the UIDs that their messages have now, in one transaction.

    bodies: the body of every row under the new UIDVALIDITY, by row id; the caller has them from a complete listing.
    lacking: those rows whose body the server does not give; they are there, and stay without.
    Equal messages are counted, not merged: each row takes one, by date and then by UID. A row whose body is
    nowhere is gone; one that was gone, and that a replica still has, is there again if its body is.
    """
    columns = server_message.c
    rows = tuple(
        conn.execute(
            select(server_message)
            .where(
                columns.mailbox_id == mailbox_id,
                or_(columns.gone_at.is_(None), columns.id.in_(select(base_message.c.message_id))),
            )
            .order_by(columns.gone_at.is_not(None), columns.uid)  # what was there has the first choice
        )
    )
    waiting: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        if row.uidvalidity == cursor.uidvalidity and row.id in bodies:
            waiting[bodies[row.id]].append(row)
    taken: list[tuple[Row[Any], Row[Any]]] = []
    gone: list[int] = []
    for row in rows:
        if row.uidvalidity == cursor.uidvalidity:
            if row.id not in bodies and row.id not in lacking and row.gone_at is None:
                gone.append(row.id)  # recorded by an attempt that was interrupted, and expunged since
            continue
        same = waiting.get(row.body_id, []) if row.body_id is not None else []
        if same:
            now_here = min(same, key=lambda one: (one.internaldate != row.internaldate, one.uid))
            same.remove(now_here)
            taken.append((row, now_here))
        elif row.gone_at is None:
            gone.append(row.id)
    for some in groups(taken, PER_VERSION):
        _take_over(conn, some, raise_version(conn, mailbox_id))
    if gone:
        version = raise_version(conn, mailbox_id)
        conn.execute(_BY_ID.values(gone_at=now, version=version), [{"row_id": row_id} for row_id in gone])
        troubles.forget(conn, gone)
    history.tell_bulk(conn, Verb.RENUMBER, len(taken), now=now, mailbox_id=mailbox_id)
    vanished = [history.Happening(Verb.VANISH, row_id) for row_id in gone]
    history.tell(conn, vanished, now=now, origin=history.SERVER, mailbox_id=mailbox_id)
    new = [row for same in waiting.values() for row in same]
    for group in groups(new, PER_VERSION):
        conn.execute(
            _BY_ID.values(body_id=bindparam("body"), version=raise_version(conn, mailbox_id)),
            [{"row_id": row.id, "body": bodies[row.id]} for row in group],
        )
    move_cursor(conn, mailbox_id, cursor, is_listed=True)
    return Renumbered(len(taken), len(new), tuple(gone))


def reclaim(conn: Connection, *, mailbox_id: int, lost: Iterable[int], bodies: Mapping[int, int]) -> Mapping[int, int]:
    """Let messages that a server had lost take the UIDs under which they are there again.

    bodies: those of new rows, by row id. Return the bodies of the rows that are new indeed, which are bound by nobody.
    """
    columns = server_message.c
    ids = {*lost, *bodies}
    rows = conn.execute(select(server_message).where(is_one_of(columns.id, ids)).order_by(columns.uid)).all()
    waiting: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        if row.id in bodies and row.body_id is None:
            waiting[bodies[row.id]].append(row)
    taken = [
        (row, same.pop(0))
        for row in rows
        if row.id not in bodies and row.gone_at is not None and (same := waiting.get(row.body_id, []))
    ]
    if taken:
        _take_over(conn, taken, raise_version(conn, mailbox_id))
    over = {now_here.id for _, now_here in taken}
    return {row_id: body_id for row_id, body_id in bodies.items() if row_id not in over}


def _take_over(conn: Connection, taken: Sequence[tuple[Row[Any], Row[Any]]], version: int) -> None:
    conn.execute(
        delete(server_message).where(server_message.c.id == bindparam("row_id")),
        [{"row_id": now_here.id} for _, now_here in taken],
    )
    conn.execute(
        _BY_ID.values(
            uidvalidity=bindparam("new_uidvalidity"),
            uid=bindparam("new_uid"),
            flags=bindparam("new_flags"),
            modseq=bindparam("new_modseq"),
            gone_at=None,
            version=version,
        ),
        [
            {
                "row_id": row.id,
                "new_uidvalidity": now_here.uidvalidity,
                "new_uid": now_here.uid,
                "new_flags": now_here.flags,
                "new_modseq": now_here.modseq,
            }
            for row, now_here in taken
        ],
    )
