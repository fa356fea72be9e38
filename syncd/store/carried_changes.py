"""Floor 3: carried changes: flags that a device changed of a message which its server has in another mailbox by now.

Theory. Where the device takes that mailbox, its file goes along, and what it changed stays a difference (`shifts`).
Where it does not, or the file cannot go along, the file is removed, and with it what nobody has heard of. So the
transaction that removes the row writes the change down for the message as it is elsewhere, and the account stores it
there like any other. A row waits until it is known that it is the same message, and goes once it says nothing new.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, exists, or_, select

from syncd.mail.flags import Flags, format_flags, parse_flags
from syncd.reconcile.effects import Drop, Remove
from syncd.store.devices import ReplicaRow
from syncd.store.queries import insert_at_once, is_one_of, rows_in
from syncd.store.schema import carried_change, mailbox, server_message, trouble
from syncd.store.successors import moved_to

_row = carried_change.c


@dataclass(frozen=True, slots=True)
class CarriedChange:
    """A change that a device made of a message in one mailbox, to be stored in another.

    flags: of the message there. is_same: it has the body that the file had; else it is another one, or gone.
    """

    id: int
    device_id: int
    message_id: int
    uid: int
    flags: Flags
    add: Flags
    remove: Flags
    is_same: bool


def carry(conn: Connection, of: ReplicaRow, removed: Iterable[Remove | Drop]) -> None:
    """Write down what the device changed of messages whose files were removed; before the rows of the files go."""
    changed = {one.message_id: one for one in removed if one.add or one.remove}
    if not changed:
        return
    there = moved_to(conn, of, changed)
    bodies = select(server_message.c.id, server_message.c.body_id)
    body_of = {row.id: row.body_id for row in rows_in(conn, bodies, server_message.c.id, there)}
    rows = [
        {
            "device_id": of.device_id,
            "message_id": new_id,
            "body_id": body_of[old_id],
            "flags_add": format_flags(changed[old_id].add),
            "flags_remove": format_flags(changed[old_id].remove),
        }
        for old_id, new_id in there.items()
    ]
    insert_at_once(conn, carried_change, rows)


def mailboxes_with_changes(conn: Connection, *, account_id: int, now: float) -> frozenset[int]:
    """Return the mailboxes of an account with messages that changes were carried to, but for what waits."""
    return frozenset(conn.execute(_MAILBOXES, {"of_account": account_id, "by": now}).scalars())


def carried_changes(conn: Connection, *, mailbox_id: int) -> tuple[CarriedChange, ...]:
    """Return what was carried to the messages of a mailbox, oldest first, but for those whose body is not known."""
    return tuple(
        CarriedChange(
            id=row.id,
            device_id=row.device_id,
            message_id=row.message_id,
            uid=row.uid,
            flags=parse_flags(row.flags),
            add=parse_flags(row.flags_add),
            remove=parse_flags(row.flags_remove),
            is_same=row.gone_at is None and row.new_body_id == row.body_id,
        )
        for row in conn.execute(_OF_MAILBOX, {"of_mailbox": mailbox_id})
    )


def drop(conn: Connection, ids: Iterable[int]) -> None:
    """Forget changes that are stored, or that say nothing new."""
    if ids := tuple(ids):
        conn.execute(delete(carried_change).where(is_one_of(conn, _row.id, ids)))


_message = server_message.c
# NOTE: without the sum SQLite reads whole mailboxes instead of the few rows that are carried.
_mailbox_id = _message.mailbox_id + 0
_known = (_message.body_id.is_not(None), _message.gone_at.is_not(None))
_OF_MAILBOX = (
    select(*_row, _message.uid, _message.flags, _message.gone_at, _message.body_id.label("new_body_id"))
    .join(server_message, _message.id == _row.message_id)
    .where(_mailbox_id == bindparam("of_mailbox"), or_(*_known))
    .order_by(_row.id)
)
_waits = exists().where(
    trouble.c.message_id == _message.id, trouble.c.device_id.is_(None), trouble.c.retry_at > bindparam("by")
)
_MAILBOXES = select(mailbox.c.id).where(
    mailbox.c.account_id == bindparam("of_account"),
    mailbox.c.id.in_(
        select(_message.mailbox_id).where(_message.id.in_(select(_row.message_id)), or_(*_known), ~_waits)
    ),
)
