"""Floor 3: carried changes: flags that a device changed of a message which its server has in another mailbox by now.

Theory. Where the device takes that mailbox, its file goes along, and what it changed stays a difference (`shifts`).
Where it does not, or the file cannot go along, the file is removed, and with it what nobody has heard of. So the
transaction that removes the row writes the change down for the message as it is elsewhere, and the account stores it
there like any other, once it has the body that tells that it is the same message. If it is another one, or went on
meanwhile, the message is looked for anew. Where it is nowhere any more it was deleted, and what a person changed is
stronger than that: it is put back from the store. What lies in a mailbox that is not synced waits until it is.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, exists, select, update

from syncd.mail.flags import NONE, Flags, format_flags, parse_flags
from syncd.reconcile.deletions import is_personal
from syncd.reconcile.effects import Drop, Remove
from syncd.store.devices import ReplicaRow
from syncd.store.queries import insert_at_once, is_one_of, rows_in
from syncd.store.recoveries import bring_back
from syncd.store.schema import carried_change, mailbox, server_message, trouble
from syncd.store.server_tree import FlagDelta
from syncd.store.successors import moved_to

_row = carried_change.c


@dataclass(frozen=True, slots=True)
class CarriedChange:
    """A change that a device made of a message in one mailbox, to be stored in another.

    flags: of the message there. is_same: it has the body that the file had; else it is another one.
    """

    id: int
    device_id: int
    message_id: int
    uid: int
    flags: Flags
    add: Flags
    remove: Flags
    is_same: bool


def carry(conn: Connection, of: ReplicaRow, removed: Iterable[Remove | Drop], *, now: float) -> None:
    """Write down what the device changed of messages whose files were removed; before the rows of the files go."""
    changed = {one.message_id: one for one in removed if one.add or one.remove}
    if not changed:
        return
    follow(conn, now=now)
    there = moved_to(conn, changed, mailbox_id=of.mailbox_id, device_id=of.device_id)
    bodies = select(_message.id, _message.body_id)
    body_of = {row.id: row.body_id for row in rows_in(conn, bodies, _message.id, changed)}
    rows = [
        {
            "device_id": of.device_id,
            "message_id": there.get(id_, id_),  # gone on in this very moment: it is looked for again
            "origin_id": id_,
            "body_id": body_of[id_],
            "flags_add": format_flags(one.add),
            "flags_remove": format_flags(one.remove),
        }
        for id_, one in changed.items()
    ]
    insert_at_once(conn, carried_change, rows)


def follow(conn: Connection, *, now: float, mistaken: Iterable[int] = ()) -> None:
    """Carry on what was carried to messages that went on since, and the rows `mistaken`, whose message is another one.

    What is nowhere any more is put back, if a person changed it, and forgotten.
    """
    found: list[tuple[Any, int]] = [(row, row.message_id) for row in conn.execute(_GONE)]
    found += [(row, row.origin_id) for row in rows_in(conn, _ORIGINS, _row.id, mistaken)]
    by_place: defaultdict[tuple[int, int], list[tuple[Any, int]]] = defaultdict(list)
    for row, from_id in found:
        by_place[row.mailbox_id, row.device_id].append((row, from_id))
    lost: list[Any] = []
    for (mailbox_id, device_id), rows in by_place.items():
        is_back = {from_id: from_id for row, from_id in rows if row.gone_at is None}
        gone = {from_id for _, from_id in rows} - is_back.keys()
        there = {**moved_to(conn, gone, mailbox_id=mailbox_id, device_id=device_id), **is_back}
        for row, from_id in rows:
            if from_id in there:
                conn.execute(update(carried_change).where(_row.id == row.id).values(message_id=there[from_id]))
            else:
                lost.append(row)
    bring_back(conn, _personal(lost), now=now)
    drop(conn, [*(row.id for row in lost), *set(mistaken).difference(row.id for row, _ in found)])


def mailboxes_with_changes(conn: Connection, *, account_id: int, now: float) -> frozenset[int]:
    """Return the mailboxes of an account with messages that changes were carried to, but for what waits."""
    return frozenset(conn.execute(_MAILBOXES, {"of_account": account_id, "by": now}).scalars())


def mailboxes_without_bodies(conn: Connection, *, account_id: int, now: float) -> frozenset[int]:
    """Return the mailboxes with messages of which only the body tells whether a change is for them."""
    return frozenset(conn.execute(_MAILBOXES_WITHOUT_BODIES, {"of_account": account_id, "by": now}).scalars())


def carried_changes(conn: Connection, *, mailbox_id: int, limit: int, now: float) -> tuple[CarriedChange, ...]:
    """Return what was carried to the messages of a mailbox, oldest first, but for what waits."""
    found = conn.execute(_OF_MAILBOX.limit(limit), {"of_mailbox": mailbox_id, "by": now})
    return tuple(
        CarriedChange(
            id=row.id,
            device_id=row.device_id,
            message_id=row.message_id,
            uid=row.uid,
            flags=parse_flags(row.flags),
            add=parse_flags(row.flags_add),
            remove=parse_flags(row.flags_remove),
            is_same=row.new_body_id == row.body_id,
        )
        for row in found
    )


def drop(conn: Connection, ids: Iterable[int]) -> None:
    """Forget changes that are stored, or that say nothing new."""
    if ids := tuple(ids):
        conn.execute(delete(carried_change).where(is_one_of(conn, _row.id, ids)))


def is_live() -> ColumnElement[bool]:
    """Say of a carried change that its message is there, in a mailbox that is synced."""
    is_synced = and_(mailbox.c.gone_at.is_(None), mailbox.c.is_selectable, mailbox.c.is_selected)
    of_mailbox = exists().where(mailbox.c.id == _message.mailbox_id, is_synced)
    return exists().where(_message.id == _row.message_id, _message.gone_at.is_(None), of_mailbox)


_message = server_message.c
# NOTE: without the sum SQLite reads whole mailboxes instead of the few rows that are carried.
_mailbox_id = _message.mailbox_id + 0
_awake = ~exists().where(
    trouble.c.message_id == _message.id, trouble.c.device_id.is_(None), trouble.c.retry_at > bindparam("by")
)
_OF_MAILBOX = (
    select(*_row, _message.uid, _message.flags, _message.body_id.label("new_body_id"))
    .join(server_message, _message.id == _row.message_id)
    .where(_mailbox_id == bindparam("of_mailbox"), _message.body_id.is_not(None), _message.gone_at.is_(None), _awake)
    .order_by(_row.id)
)
_ROW_WITH_PLACE = select(*_row, _message.mailbox_id, _message.gone_at)
_GONE = _ROW_WITH_PLACE.join(server_message, _message.id == _row.message_id).where(_message.gone_at.is_not(None))
_ORIGINS = _ROW_WITH_PLACE.join(server_message, _message.id == _row.origin_id)


def _personal(lost: Iterable[Any]) -> tuple[FlagDelta, ...]:
    """Return what devices changed in a way that is stronger than a deletion, once for each message."""
    changes: dict[int, FlagDelta] = {}
    for row in lost:
        add, remove = parse_flags(row.flags_add), parse_flags(row.flags_remove)
        if row.origin_id is not None and is_personal(add | remove):
            known = changes.get(row.origin_id, FlagDelta(row.origin_id, NONE, NONE))
            changes[row.origin_id] = FlagDelta(row.origin_id, known.add | add, known.remove | remove)
    return tuple(changes.values())


def _mailboxes(is_known: ColumnElement[bool]) -> Select[int]:
    carried = select(_row.message_id)
    mine = select(_message.mailbox_id).where(_message.id.in_(carried), _message.gone_at.is_(None), is_known, _awake)
    return select(mailbox.c.id).where(
        mailbox.c.account_id == bindparam("of_account"),
        mailbox.c.gone_at.is_(None),
        mailbox.c.is_selectable,
        mailbox.c.is_selected,
        mailbox.c.id.in_(mine),
    )


_MAILBOXES = _mailboxes(_message.body_id.is_not(None))
_MAILBOXES_WITHOUT_BODIES = _mailboxes(_message.body_id.is_(None))
