"""Floor 3: successors: the files that a device put in the place of those that it removed, for no move is a deletion.

Theory. A program that moves a message makes a copy and removes the original, perhaps days later; one that saves a draft
makes a new file and removes the old. Both leave a row in the journal for the new file, with its octets and the device.
A file that the device removed as well takes nobody's place, or copies of one message would stand for each other.

A server moves a message in two steps, and one may be seen long before the other. So what came shortly before the
original went is where that was moved, though the device may have got it as a copy; what it has had for longer is one.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, exists, func, or_, select, true

from syncd.mail.tree import NOT_THERE, Pair, ReplicaState, ServerMessage, Successor
from syncd.store.engine.queries import is_listed, is_one_of, rows_in
from syncd.store.tables.schema import (
    base_message,
    body,
    journal,
    mailbox,
    replica,
    replica_message,
    server_message,
    trouble,
)
from syncd.store.trees.accounts import mailbox_by_id, mailboxes, trash_of
from syncd.store.trees.devices import LEAVING, LEFT, UNSERVED, ReplicaRow
from syncd.store.trees.journal import UploadState

_MOVE_S = 600.0
"""How long before the end of a move its beginning may be seen: some mailboxes are asked for every few minutes only."""


def with_successors(conn: Connection, of: ReplicaRow, found: Iterable[Pair]) -> tuple[Pair, ...]:
    """Return the pairs of one replica, those of deleted files with what has taken their place on the device.

    And those of messages that are gone, and whose files the device changed, with where the server has them now.
    """
    pairs = tuple(found)
    deleted: dict[int, ServerMessage] = {}
    gone: dict[int, ServerMessage] = {}
    for server, base, file, _ in pairs:
        if server is None or file is None:
            continue
        if file.state is ReplicaState.DELETED:
            deleted[server.id] = server
        elif server.is_gone and base is not None and base.flags != file.flags:
            gone[server.id] = server
    known = _successors(conn, of, deleted) if deleted else {}
    known |= _moved(conn, gone, mailbox_id=of.mailbox_id, device_id=of.device_id) if gone else {}
    return tuple(
        pair._replace(successor=known[pair.server.id]) if pair.server is not None and pair.server.id in known else pair
        for pair in pairs
    )


def moved_to(conn: Connection, gone: Collection[int], *, mailbox_id: int, device_id: int) -> Mapping[int, int]:
    """Return where the server has messages now that went from a mailbox, by their ids, each another one.

    What has the same body comes before what may have it, and of the rest the newest: that came last.
    """
    candidates: defaultdict[int, list[tuple[bool, int]]] = defaultdict(list)
    for row in conn.execute(_elsewhere(conn, gone, mailbox_id=mailbox_id, device_id=device_id)):
        candidates[row.id].append((bool(row.is_proved), row.new_id))
    found: dict[int, int] = {}
    taken: set[int] = set()
    for old_id in sorted(candidates, reverse=True):
        free = [one for one in candidates[old_id] if one[1] not in taken]
        if free:
            found[old_id] = max(free)[1]
            taken.add(found[old_id])
    return found


def has_successor() -> ColumnElement[bool]:
    """Say of a file of a replica that its device put another one with the same octets elsewhere."""
    other, of_other = replica_message.alias("other"), replica.alias("of_other")
    return exists(
        select(journal.c.id)
        .join(body, body.c.digest == journal.c.digest)
        .join(server_message, server_message.c.body_id == body.c.id)
        .join(other, other.c.id == journal.c.replica_message_id)
        .join(of_other, of_other.c.id == other.c.replica_id)
        .where(
            server_message.c.id == replica_message.c.message_id,
            of_other.c.device_id == replica.c.device_id,
            other.c.id != replica_message.c.id,
            other.c.state.not_in(NOT_THERE),
            journal.c.kind.in_([state.value for state in UploadState]),
            journal.c.base_flags.is_(None),  # what is put back is what its device had
        )
        .correlate(replica_message, replica)
    )


def _successors(conn: Connection, of: ReplicaRow, deleted: Mapping[int, ServerMessage]) -> dict[int, Successor]:
    here = mailbox_by_id(conn, mailbox_id=of.mailbox_id)
    ids = {one.body_id for one in deleted.values() if one.body_id is not None}
    header_ids = _header_message_ids(conn, ids) if here.is_drafts else {}
    of_versions = rows_in(conn, select(body.c.id), body.c.message_id, set(header_ids.values()))
    copies, versions = defaultdict[int, list[ServerMessage]](list), defaultdict[str, list[ServerMessage]](list)
    for one in deleted.values():
        if one.body_id is not None:
            copies[one.body_id].append(one)
            if one.body_id in header_ids:
                versions[header_ids[one.body_id]].append(one)
    found: dict[int, Successor] = {}
    for row in _filed(conn, of, here.account_id, {*ids, *(row.id for row in of_versions)}):
        is_filed = row.kind == UploadState.FILED.value
        if is_filed and (row.gone_at is not None or row.uid is None):
            continue
        mine = [one for one in copies[row.body_id] if one.id != row.message_id]
        if row.replica_id == of.id and row.header_message_id is not None:
            mine += [one for one in versions[row.header_message_id] if not is_filed or row.uid > one.uid]
        for one in mine:
            if found.get(one.id) is not Successor.ON_ITS_WAY:
                found[one.id] = Successor.THERE if is_filed else Successor.ON_ITS_WAY
    return found


def _moved(conn: Connection, gone: Collection[int], *, mailbox_id: int, device_id: int) -> dict[int, Successor]:
    """Return those of these messages that the server has elsewhere now: it has moved them."""
    found = conn.execute(_elsewhere(conn, gone, mailbox_id=mailbox_id, device_id=device_id)).all()
    to_come = {row.id: Successor.ON_ITS_WAY for row in found if row.is_to_come}
    return to_come | {row.id: Successor.THERE for row in found if not row.is_to_come}


def _elsewhere(conn: Connection, gone: Collection[int], *, mailbox_id: int, device_id: int) -> Select[Any]:
    """Select those of these messages that the server has in another mailbox now, but for its Trash, or here again.

    Here it is what another device has put back, by a flag, or by giving its file another name.
    What the device has a file of does not count if it was there before, or if the device put it there. Without its body
    a message is told by its size and date, which is no proof: where the device is to get it, that is known soon.
    """
    here = mailbox_by_id(conn, mailbox_id=mailbox_id)
    trash = trash_of(mailboxes(conn, account_id=here.account_id))
    old, new = server_message.alias("old"), server_message.alias("new")
    was_before = func.coalesce(new.c.came_at < old.c.gone_at - _MOVE_S, true())  # or nobody knows when it came
    is_own = exists().where(
        replica_message.c.message_id == new.c.id,
        replica_message.c.replica_id == replica.c.id,
        journal.c.replica_message_id == replica_message.c.id,
        journal.c.kind == UploadState.FILED.value,
    )
    is_copy = (
        select(base_message.c.message_id)
        .join(replica, replica.c.id == base_message.c.replica_id)
        .where(base_message.c.message_id == new.c.id, replica.c.device_id == device_id, or_(was_before, is_own))
    )
    is_same = or_(new.c.body_id == old.c.body_id, and_(new.c.body_id.is_(None), new.c.size_bytes == old.c.size_bytes))
    is_to_come = and_(
        new.c.body_id.is_(None),
        mailbox.c.error.is_(None),  # nobody knows how long a mailbox that cannot be read stays so
        exists().where(
            replica.c.mailbox_id == new.c.mailbox_id,
            replica.c.device_id == device_id,
            replica.c.selection.not_in((UNSERVED, LEAVING, LEFT)),
        ),
        ~exists().where(trouble.c.message_id == new.c.id, trouble.c.device_id.is_(None)),
    )
    return (
        select(old.c.id, new.c.id.label("new_id"), is_to_come.label("is_to_come"))
        .add_columns(new.c.body_id.is_not(None).label("is_proved"))
        .join(new, and_(new.c.internaldate == old.c.internaldate, is_same))
        .join(mailbox, mailbox.c.id == new.c.mailbox_id)
        .where(
            is_one_of(old.c.id, gone),
            mailbox.c.account_id == here.account_id,
            or_(
                mailbox.c.id.not_in([here.id] if trash is None else [here.id, trash.id]),
                and_(mailbox.c.id == here.id, new.c.came_at >= old.c.gone_at),
            ),
            mailbox.c.gone_at.is_(None),
            new.c.gone_at.is_(None),
            new.c.uidvalidity == mailbox.c.uidvalidity,
            ~exists(is_copy),
        )
        .distinct()
    )


def _header_message_ids(conn: Connection, body_ids: Iterable[int]) -> Mapping[int, str]:
    query = select(body.c.id, body.c.message_id).where(is_one_of(body.c.id, body_ids))
    return {id_: message_id for id_, message_id in conn.execute(query) if message_id is not None}


def _filed(conn: Connection, of: ReplicaRow, account_id: int, body_ids: Iterable[int]) -> Iterable[Row[Any]]:
    """Return what the device put into mailboxes of the account with these octets."""
    given = {"of_device": of.device_id, "of_account": account_id, "bodies": list(body_ids)}
    return conn.execute(_filed_bodies(), given)


@cache
def _filed_bodies() -> Select[Any]:
    file = replica_message.c
    return (
        select(
            body.c.id.label("body_id"),
            body.c.message_id.label("header_message_id"),
            journal.c.kind,
            file.replica_id,
            file.message_id,
            server_message.c.uid,
            server_message.c.gone_at,
        )
        .join(journal, journal.c.digest == body.c.digest)
        .join(replica_message, file.id == journal.c.replica_message_id)
        .join(replica, replica.c.id == file.replica_id)
        .outerjoin(server_message, server_message.c.id == file.message_id)
        .where(
            is_listed(body.c.id, "bodies"),
            replica.c.device_id == bindparam("of_device"),
            or_(file.message_id.is_(None), file.state.not_in(NOT_THERE)),
            journal.c.account_id == bindparam("of_account"),
            journal.c.kind.in_([state.value for state in UploadState]),
            journal.c.base_flags.is_(None),  # what is put back is what its device had
        )
    )
