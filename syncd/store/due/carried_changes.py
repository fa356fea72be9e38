"""Floor 3: carried changes: flags that a device changed of a message which its server has in another mailbox by now.

Theory. Where the device takes that mailbox, its file goes along, and what it changed stays a difference (`shifts`).
Where it does not, or the file cannot go along, the file is removed, and with it what nobody has heard of. So the
transaction that removes the row writes the change down for the message as it is elsewhere, and the account stores it
there like any other, once it has the body that tells that it is the same message. If it is another one, or went on
meanwhile, the message is looked for anew. Where it is nowhere that is known of the row is *lost*: carried to where the
message went from, until its account has looked in all mailboxes. Only then was it deleted, and what a person changed is
stronger than that: it is put back from the store. What lies in a mailbox that is not synced waits until it is.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Double, Select, and_, bindparam, delete, exists, or_, select, update

from syncd.mail.flags import NONE, Flags, format_flags, parse_flags
from syncd.reconcile.deletions import is_personal
from syncd.reconcile.effects import Drop, Remove
from syncd.store.due.recoveries import bring_back, places_of
from syncd.store.engine.queries import insert_at_once, is_one_of, rows_in
from syncd.store.files.successors import moved_to
from syncd.store.tables.schema import carried_change, mailbox, server_message, trouble
from syncd.store.trees import troubles
from syncd.store.trees.accounts import mailboxes, trash_of
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.server_tree import FlagDelta
from syncd.values import Value

_row = carried_change.c


class CarriedChange(Value):
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


def carry(conn: Connection, of: ReplicaRow, removed: Iterable[Remove | Drop]) -> None:
    """Write down what the device changed of messages whose files were removed; before the rows of the files go."""
    changed = {one.message_id: one for one in removed if one.add or one.remove}
    if not changed:
        return
    follow(conn)
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


def follow(conn: Connection, *, mistaken: Iterable[int] = ()) -> None:
    """Carry on what was carried to messages that went on since, and the rows `mistaken`, whose message is another one.

    What is nowhere that is known of may be where nobody has looked yet: it is lost until its account has (`conclude`).
    Of what nobody changed in a way that is stronger than a deletion nothing is left then.
    """
    found: list[tuple[Any, int]] = [(row, row.message_id) for row in conn.execute(_GONE)]
    found += [(row, row.origin_id) for row in rows_in(conn, _ORIGINS, _row.id, mistaken)]
    there = _found_again(conn, ((row, from_id) for row, from_id in found if row.gone_at is not None))
    over = set(mistaken).difference(row.id for row, _ in found)
    for row, from_id in found:
        if row.gone_at is None and row.known_body_id == row.body_id:
            _carry_to(conn, row.id, from_id)  # it is where it was, and the device does not take it any more
        elif row.id in there:
            _carry_to(conn, row.id, there[row.id])
        elif row.gone_at is not None and row.origin_id is not None and _is_personal(row):
            _carry_to(conn, row.id, row.origin_id)
        else:
            over.add(row.id)
    drop(conn, over)


def lost(conn: Connection, *, mailbox_id: int) -> frozenset[int]:
    """Return the messages that went from a mailbox, and of which a change is carried to nowhere."""
    return frozenset(conn.execute(_LOST, {"of_mailbox": mailbox_id}).scalars())


def conclude(conn: Connection, message_ids: Collection[int], *, now: float) -> int:
    """Put back those lost messages that are nowhere now that their account has looked everywhere; return how many.

    One that is there after all gets its change; of what was changed in passing nothing is left.
    """
    rows = list(rows_in(conn, _ORIGINS.where(_row.message_id == _row.origin_id), _row.origin_id, message_ids))
    there = _found_again(conn, ((row, row.origin_id) for row in rows))
    there |= _came_back(conn, [row for row in rows if row.id not in there])
    for row_id, message_id in there.items():
        _carry_to(conn, row_id, message_id)
    gone = [row for row in rows if row.id not in there]
    drop(conn, (row.id for row in gone))
    return bring_back(conn, _joined(row for row in gone if _is_personal(row)), now=now)


def mailboxes_with_changes(conn: Connection, *, account_id: int, now: float) -> frozenset[int]:
    """Return the mailboxes of an account with messages that changes were carried to, but for what waits.

    And those from which messages went that are lost.
    """
    carried_to = conn.execute(_MAILBOXES, {"of_account": account_id, "by": now}).scalars()
    return frozenset((*carried_to, *conn.execute(_MAILBOXES_OF_LOST, {"of_account": account_id}).scalars()))


def mailboxes_without_bodies(conn: Connection, *, account_id: int, now: float) -> frozenset[int]:
    """Return the mailboxes with messages of which only the body tells whether a change is for them."""
    return frozenset(conn.execute(_MAILBOXES_WITHOUT_BODIES, {"of_account": account_id, "by": now}).scalars())


def carried_changes(conn: Connection, *, mailbox_id: int, limit: int, now: float) -> tuple[CarriedChange, ...]:
    """Return what was carried to the messages of a mailbox, oldest first, but for what waits."""
    found = conn.execute(_OF_MAILBOX, {"of_mailbox": mailbox_id, "by": now, "at_most": limit})
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
        conn.execute(delete(carried_change).where(is_one_of(_row.id, ids)))


def is_live() -> ColumnElement[bool]:
    """Say of a carried change that its message is there, or lost, in a mailbox that is synced."""
    is_synced = and_(mailbox.c.gone_at.is_(None), mailbox.c.is_selectable, mailbox.c.is_selected)
    of_mailbox = exists().where(mailbox.c.id == _message.mailbox_id, is_synced)
    is_there = or_(_message.gone_at.is_(None), _row.message_id == _row.origin_id)
    return exists().where(_message.id == _row.message_id, is_there, of_mailbox)


_message = server_message.c
# NOTE: without the sum SQLite reads whole mailboxes instead of the few rows that are carried.
_mailbox_id = _message.mailbox_id + 0
_awake = ~exists().where(
    trouble.c.message_id == _message.id,
    trouble.c.device_id.is_(None),
    ~troubles.is_due(bindparam("by", type_=Double())),
)
_OF_MAILBOX = (
    select(*_row, _message.uid, _message.flags, _message.body_id.label("new_body_id"))
    .join(server_message, _message.id == _row.message_id)
    .where(_mailbox_id == bindparam("of_mailbox"), _message.body_id.is_not(None), _message.gone_at.is_(None), _awake)
    .order_by(_row.id)
    .limit(bindparam("at_most"))
)


def _with_message(of: ColumnElement[int]) -> Select[Any]:
    """Select rows with what is known of this message of each, and whose it is."""
    return (
        select(*_row, _message.mailbox_id, _message.gone_at)
        .add_columns(_message.body_id.label("known_body_id"), mailbox.c.account_id)
        .select_from(carried_change)
        .join(server_message, _message.id == of)
        .join(mailbox, mailbox.c.id == _message.mailbox_id)
    )


_GONE = _with_message(_row.message_id).where(_message.gone_at.is_not(None))
_ORIGINS = _with_message(_row.origin_id)
_LOST = (
    select(_row.origin_id)
    .join(server_message, _message.id == _row.message_id)
    .where(_row.message_id == _row.origin_id, _mailbox_id == bindparam("of_mailbox"), _message.gone_at.is_not(None))
)


def _carry_to(conn: Connection, row_id: int, message_id: int) -> None:
    conn.execute(update(carried_change).where(_row.id == row_id).values(message_id=message_id))


def _found_again(conn: Connection, gone: Iterable[tuple[Any, int]]) -> dict[int, int]:
    """Return where the messages of these rows are now, by the ids of the rows: each with the message that is gone."""
    by_place: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for row, from_id in gone:
        by_place[row.mailbox_id, row.device_id].append((row.id, from_id))
    found: dict[int, int] = {}
    for (mailbox_id, device_id), ones in by_place.items():
        there = moved_to(conn, {from_id for _, from_id in ones}, mailbox_id=mailbox_id, device_id=device_id)
        found |= {row_id: there[from_id] for row_id, from_id in ones if from_id in there}
    return found


def _came_back(conn: Connection, gone: Iterable[Any]) -> dict[int, int]:
    """Return the messages that came later with the octets of gone ones, wherever but in Trash, by the ids of the rows.

    The device may have a file of them by now, and they may be where the message once was.
    """
    by_origin: dict[int, int] = {}
    found: dict[int, int] = {}
    for row in sorted(gone, key=lambda row: row.origin_id):
        trash = trash_of(mailboxes(conn, account_id=row.account_id))
        later = {
            one.message_id
            for one in places_of(conn, row.account_id, [row.body_id])
            if one.message_id > row.origin_id and (trash is None or one.mailbox_id != trash.id)
        }
        free = later.difference(place for origin, place in by_origin.items() if origin != row.origin_id)
        if free:
            found[row.id] = by_origin.setdefault(row.origin_id, max(free))
    return found


def _is_personal(row: Any) -> bool:
    return is_personal(parse_flags(row.flags_add) | parse_flags(row.flags_remove))


def _joined(rows: Iterable[Any]) -> tuple[FlagDelta, ...]:
    """Return what devices changed, once for each message."""
    changes: dict[int, FlagDelta] = {}
    for row in rows:
        known = changes.get(row.origin_id, FlagDelta(row.origin_id, NONE, NONE))
        add, remove = known.add | parse_flags(row.flags_add), known.remove | parse_flags(row.flags_remove)
        changes[row.origin_id] = FlagDelta(row.origin_id, add, remove)
    return tuple(changes.values())


def _mailboxes(carried: Select[int], *are_meant: ColumnElement[bool]) -> Select[int]:
    mine = select(_message.mailbox_id).where(_message.id.in_(carried), *are_meant)
    return select(mailbox.c.id).where(
        mailbox.c.account_id == bindparam("of_account"),
        mailbox.c.gone_at.is_(None),
        mailbox.c.is_selectable,
        mailbox.c.is_selected,
        mailbox.c.id.in_(mine),
    )


_CARRIED_TO = select(_row.message_id)
_MAILBOXES = _mailboxes(_CARRIED_TO, _message.gone_at.is_(None), _message.body_id.is_not(None), _awake)
_MAILBOXES_WITHOUT_BODIES = _mailboxes(_CARRIED_TO, _message.gone_at.is_(None), _message.body_id.is_(None), _awake)
_MAILBOXES_OF_LOST = _mailboxes(_CARRIED_TO.where(_row.message_id == _row.origin_id), _message.gone_at.is_not(None))
