"""Floor 3: recoveries: deleted messages as a person finds them, and the journal of those that are wanted back.

Theory. A message that its server had stays as a row that is gone, and keeps its body for as long as that is retained
(`retention`). Wanted back it is an upload like those of devices (`uploads`), of which nobody has a file: committed
before anything is sent, looked for after an answer that was lost, and a message of its mailbox once it is seen there.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Select, and_, exists, or_, select

from syncd.mail.flags import DELETED, Flags, format_flags, parse_flags, with_delta
from syncd.mail.tree import SYNCED
from syncd.reconcile.recoveries import Deleted, Place
from syncd.store.due.named import has_header_id, number_of
from syncd.store.engine.queries import insert_at_once, is_one_of, rows_in
from syncd.store.mailboxes import served_mailboxes
from syncd.store.tables.schema import base_message, body, journal, mailbox, replica, replica_message, server_message
from syncd.store.trees import history
from syncd.store.trees.accounts import MailboxRow, mailbox_by_id
from syncd.store.trees.history import Happening, Verb
from syncd.store.trees.journal import ON_ITS_WAY, UploadState
from syncd.store.trees.server_tree import FlagDelta
from syncd.values import Value, replace


class DeletedMessage(Value):
    """A message as it was, and in which mailbox; header_id: its Message-ID."""

    row: Deleted
    account_id: int
    size_bytes: int
    header_id: str | None


def search(
    conn: Connection,
    *,
    account_ids: Collection[int],
    devices: Collection[int],
    mailbox_ids: Collection[int] | None = None,
    drafts: Collection[int] = (),
    since: float | None = None,
) -> tuple[DeletedMessage, ...]:
    """Return what is gone of these accounts, each time that it went; older versions in drafts are left out.

    devices: those that are served; who else has files of a message does not give them back. drafts: mailboxes.
    """
    columns = server_message.c
    wanted = [is_one_of(mailbox.c.account_id, account_ids), columns.gone_at.is_not(None)]
    if mailbox_ids is not None:
        wanted.append(is_one_of(columns.mailbox_id, mailbox_ids))
    if since is not None:
        wanted.append(columns.gone_at >= since)
    found = _found(conn, _messages(devices).where(*wanted))
    return _without_versions(conn, found, drafts)


def named(
    conn: Connection, name: str, *, account_ids: Collection[int], devices: Collection[int], drafts: Collection[int] = ()
) -> tuple[DeletedMessage, ...]:
    """Return the message of this number, or all that have this Message-ID, be they gone or there.

    By their Message-ID older versions in drafts are not meant.
    """
    query = _messages(devices).where(is_one_of(mailbox.c.account_id, account_ids))
    number = number_of(name)
    if number is not None:
        return _found(conn, query.where(server_message.c.id == number))
    return _without_versions(conn, _found(conn, query.where(has_header_id(name))), drafts)


def lives_of(conn: Connection, found: Iterable[DeletedMessage]) -> Mapping[int, Mapping[int, Sequence[Deleted]]]:
    """Return by account and body everything that an account ever had with the octets of these messages."""
    body_ids = {one.row.body_id for one in found if one.row.body_id is not None}
    query = select(
        mailbox.c.account_id,
        server_message.c.id,
        server_message.c.mailbox_id,
        server_message.c.body_id,
        server_message.c.gone_at,
    ).join(mailbox, mailbox.c.id == server_message.c.mailbox_id)
    lives: defaultdict[int, defaultdict[int, list[Deleted]]] = defaultdict(lambda: defaultdict(list))
    for row in rows_in(conn, query, server_message.c.body_id, body_ids):
        lives[row.account_id][row.body_id].append(Deleted(row.id, row.mailbox_id, row.body_id, row.gone_at))
    return lives


def places_of(conn: Connection, account_id: int, body_ids: Iterable[int]) -> tuple[Place, ...]:
    """Return the messages with these octets that the server of an account has, as far as is known."""
    query = (
        select(server_message.c.id, server_message.c.mailbox_id, server_message.c.body_id)
        .join(mailbox, mailbox.c.id == server_message.c.mailbox_id)
        .where(mailbox.c.account_id == account_id, mailbox.c.gone_at.is_(None), server_message.c.gone_at.is_(None))
    )
    rows = rows_in(conn, query, server_message.c.body_id, set(body_ids))
    return tuple(Place(row.id, row.mailbox_id, row.body_id) for row in rows)


def arriving(conn: Connection, account_id: int) -> frozenset[tuple[int, int]]:
    """Return what is about to be a message where, by mailbox and body: what a person wanted before is among it."""
    query = (
        select(journal.c.mailbox_id, body.c.id)
        .join(body, body.c.digest == journal.c.digest)
        .outerjoin(replica_message, replica_message.c.id == journal.c.replica_message_id)
        .where(
            journal.c.account_id == account_id,
            journal.c.kind.in_(ON_ITS_WAY),
            or_(
                journal.c.message_id.is_not(None),
                and_(replica_message.c.id.is_not(None), replica_message.c.message_id.is_(None)),
            ),
        )
    )
    return frozenset((row.mailbox_id, row.id) for row in conn.execute(query))


def want_back(
    conn: Connection,
    message_ids: Iterable[int],
    target: MailboxRow,
    *,
    now: float,
    changes: Mapping[int, FlagDelta] = MappingProxyType({}),
) -> None:
    """Commit that messages are to be brought into a mailbox of their server, with flags and date as they were.

    changes: what a device changed of their flags before they went, by message.
    """
    query = (
        select(server_message.c.id, server_message.c.flags, body.c.digest, body.c.header_digest, body.c.size_bytes)
        .join(body, body.c.id == server_message.c.body_id)
        .where(is_one_of(server_message.c.id, message_ids))
        .order_by(server_message.c.uid, server_message.c.id)
    )
    rows = [
        {
            "account_id": target.account_id,
            "mailbox_id": target.id,
            "message_id": row.id,
            "kind": UploadState.TAKEN_IN.value,
            "digest": row.digest,
            "header_digest": row.header_digest,
            "size_bytes": row.size_bytes,
            "uidvalidity": 0,
            "uidnext": 0,
            "begun_at": now,
            # NOTE: with the mark of those who expunged it, others would expunge it again.
            "restored_flags": format_flags(_changed(parse_flags(row.flags), changes.get(row.id)) - {DELETED}),
            "base_flags": row.flags if row.id in changes else None,
        }
        for row in conn.execute(query)
    ]
    insert_at_once(conn, journal, rows)


def bring_back(conn: Connection, changes: Iterable[FlagDelta], *, now: float) -> int:
    """Have messages again in their mailboxes that went from there, with what devices changed of them before.

    What is not gone, has no octets any more, or comes back already, is left. Return how many come.
    """
    wanted = {change.message_id: change for change in changes}
    columns = server_message.c
    query = (
        select(columns.mailbox_id, columns.id, columns.body_id, mailbox.c.account_id)
        .join(mailbox, mailbox.c.id == columns.mailbox_id)
        .where(columns.gone_at.is_not(None), columns.body_id.is_not(None))
    )
    found = list(rows_in(conn, query, columns.id, wanted))
    coming = {account_id: arriving(conn, account_id) for account_id in {row.account_id for row in found}}
    by_mailbox: defaultdict[int, list[int]] = defaultdict(list)
    for row in found:
        if (row.mailbox_id, row.body_id) not in coming[row.account_id]:
            by_mailbox[row.mailbox_id].append(row.id)
    served = served_mailboxes.served_accounts(conn) if by_mailbox else frozenset()
    for mailbox_id, message_ids in by_mailbox.items():
        target = mailbox_by_id(conn, mailbox_id=mailbox_id)
        if target.account_id not in served:
            want_back(conn, message_ids, target, now=now, changes=wanted)
            continue
        copies = served_mailboxes.old_copies_of(conn, message_ids)
        put = [replace(copies[id_], flags=_changed(copies[id_].flags, wanted[id_])) for id_ in message_ids]
        served_mailboxes.put_messages(conn, mailbox_id, put, now=now)
        told = [Happening(Verb.RESTORE, id_) for id_ in message_ids]
        history.tell(conn, told, now=now, origin=history.DEVICES, mailbox_id=mailbox_id)
    return sum(map(len, by_mailbox.values()))


def _changed(flags: Flags, change: FlagDelta | None) -> Flags:
    return flags if change is None else with_delta(flags, add=change.add, remove=change.remove)


def _messages(devices: Collection[int]) -> Select[Any]:
    message, file = server_message.c, replica_message.c
    has_file = exists(
        select(file.id)
        .join(replica, replica.c.id == file.replica_id)
        .join(
            base_message,
            and_(base_message.c.replica_id == file.replica_id, base_message.c.message_id == file.message_id),
        )
        .where(
            file.message_id == message.id,
            file.state.in_(SYNCED),
            is_one_of(replica.c.device_id, devices),
            replica.c.listed_at.is_not(None),
        )
        .correlate(server_message)
    )
    return (
        select(
            message.id,
            message.mailbox_id,
            message.body_id,
            message.gone_at,
            message.size_bytes,
            mailbox.c.account_id,
            mailbox.c.gone_at.label("mailbox_gone_at"),
            body.c.message_id.label("header_id"),
            and_(message.gone_at.is_not(None), has_file).label("has_file"),
        )
        .join(mailbox, mailbox.c.id == message.mailbox_id)
        .outerjoin(body, body.c.id == message.body_id)
    )


def _found(conn: Connection, query: Select[Any]) -> tuple[DeletedMessage, ...]:
    wanted = select(journal.c.message_id).where(journal.c.kind.in_(ON_ITS_WAY), journal.c.message_id.is_not(None))
    underway = frozenset(conn.execute(wanted).scalars())
    return tuple(_deleted(row, underway) for row in conn.execute(query.order_by(server_message.c.id)))


def _deleted(row: Any, underway: Collection[int]) -> DeletedMessage:
    one = Deleted(
        message_id=row.id,
        mailbox_id=row.mailbox_id,
        body_id=row.body_id,
        gone_at=row.gone_at,
        went_along=row.gone_at is not None and row.gone_at == row.mailbox_gone_at,
        has_file=bool(row.has_file),
        is_underway=row.id in underway,
    )
    return DeletedMessage(one, row.account_id, row.size_bytes, row.header_id)


def _without_versions(
    conn: Connection, found: Sequence[DeletedMessage], drafts: Collection[int]
) -> tuple[DeletedMessage, ...]:
    """Leave out drafts of which the account got a newer version: saved again, or sent."""
    header_ids = {one.header_id for one in found if one.header_id is not None and one.row.mailbox_id in drafts}
    query = (
        select(body.c.message_id.label("header_id"), mailbox.c.account_id, body.c.id)
        .join(server_message, server_message.c.body_id == body.c.id)
        .join(mailbox, mailbox.c.id == server_message.c.mailbox_id)
    )
    newest: dict[tuple[str | None, int], int] = {}
    for row in rows_in(conn, query, body.c.message_id, header_ids):
        of = row.header_id, row.account_id
        newest[of] = max(row.id, newest.get(of, 0))
    return tuple(
        one
        for one in found
        if one.row.mailbox_id not in drafts
        or one.row.body_id == newest.get((one.header_id, one.account_id), one.row.body_id)
    )
