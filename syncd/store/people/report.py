"""Floor 3: what `syncd status` and `syncd plan` ask of the store: counts and last errors, nothing of any message."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, exists, false, func, or_, select, true

from syncd.mail.tree import SYNCED, UNSYNCED, ReplicaState
from syncd.reconcile.planner import Selection
from syncd.store.files.added_files import EmptyFile, empty_files, is_empty
from syncd.store.mailboxes.custody import kept_by_account
from syncd.store.people.trouble_report import RefusedMailbox, TroubleReport, refused_mailboxes, troubles
from syncd.store.rounds.holds import Hold, holds
from syncd.store.tables.own_tables import history
from syncd.store.tables.schema import account, base_message, device, mailbox, replica, replica_message, server_message
from syncd.store.trees.devices import LEFT, device_names
from syncd.store.trees.replica_tree import is_unsettled
from syncd.values import Value

NO_LIMITS: Mapping[str, Selection] = MappingProxyType({})
"""Of devices that take any message."""


class AccountReport(Value):
    """Say how an account fared. Times are seconds since 1970; failures are those since the last success.

    kept: messages that are safe here, and in its maildrop as well as far as is known; kept_since: the oldest came then.
    """

    id: int
    name: str
    kind: str
    succeeded_at: float | None
    failed_at: float | None
    error: str | None
    cause: str | None
    failures: int
    kept: int = 0
    kept_since: float | None = None


class MailboxReport(Value):
    """Count a mailbox of the server tree: its messages, and those of them whose body is in the store.

    is_gone: its server has it no more. unlisted: how many more its server said to have when it was read first, while
    not all of them were listed yet. has_modseq: the server keeps mod-sequences for it, as far as is known.
    """

    id: int
    account_id: int
    name: str
    is_synced: bool
    is_gone: bool
    messages: int
    fetched: int
    error: str | None
    size_bytes: int = 0
    fetched_bytes: int = 0
    unlisted: int = 0
    uidvalidity: int = 0
    has_modseq: bool = False


class DeviceReport(Value):
    """Say where a device stands; settled_at is when its files were last made durable, layout that of its files."""

    id: int
    name: str
    state: str
    settled_at: float | None
    error: str | None
    layout: str
    cause: str | None = None


class ReplicaReport(Value):
    """Count a replica: files delivered, server changes it waits for, and by kind what its device did on its own.

    flagged: files whose flags the device changed, and its server has not heard of it.
    """

    device_id: int
    mailbox_id: int
    delivered: int
    waiting: int
    new: int
    missing: int
    deleted: int
    edited: int
    flagged: int = 0
    delivered_bytes: int = 0


class HoldReport(Value):
    """Name the account, the mailbox and the device of a hold; device None: it is the account's."""

    hold: Hold
    account: str
    mailbox: str
    device: str | None


class StoreReport(Value):
    """Hold one snapshot of everything that status shows; changed_at: when the last message of all was changed."""

    accounts: tuple[AccountReport, ...]
    mailboxes: tuple[MailboxReport, ...]
    devices: tuple[DeviceReport, ...]
    replicas: tuple[ReplicaReport, ...]
    troubles: tuple[TroubleReport, ...]
    holds: tuple[HoldReport, ...]
    mailboxes_refused: tuple[RefusedMailbox, ...] = ()
    changed_at: float | None = None
    empty_files: tuple[EmptyFile, ...] = ()


def store_report(
    conn: Connection, *, troubles_max: int, selections: Mapping[str, Selection] = NO_LIMITS
) -> StoreReport:
    """Return the whole report; of the troubles and of the empty files the newest. selections: of devices, by name."""
    return StoreReport(
        accounts=tuple(account_reports(conn)),
        mailboxes=tuple(_mailboxes(conn)),
        devices=tuple(device_reports(conn)),
        replicas=tuple(_replicas(conn, selections)),
        troubles=troubles(conn, limit=troubles_max),
        holds=held(conn),
        mailboxes_refused=tuple(refused_mailboxes(conn)),
        changed_at=conn.execute(_LAST_CHANGE).scalar_one_or_none(),
        empty_files=empty_files(conn, limit=troubles_max),
    )


def held(conn: Connection) -> tuple[HoldReport, ...]:
    """Return the holds, oldest first; also of mailboxes that their servers have no more."""
    query = select(mailbox.c.id, mailbox.c.name, account.c.name.label("account_name")).join(
        account, account.c.id == mailbox.c.account_id
    )
    found = holds(conn)
    if not found:
        return ()
    names = device_names(conn)
    places = {row.id: row for row in conn.execute(query)}
    return tuple(
        HoldReport(one, place.account_name, place.name, _name(names, one.device_id))
        for one in found
        if (place := places.get(one.mailbox_id)) is not None
    )


def _name(names: Mapping[int, str], device_id: int | None) -> str | None:
    return None if device_id is None else names.get(device_id, "")


def account_ids(conn: Connection) -> Mapping[str, int]:
    """Return the ids of all accounts by name."""
    return {row.name: row.id for row in conn.execute(select(account.c.name, account.c.id))}


def account_reports(conn: Connection) -> Iterator[AccountReport]:
    """Yield how each account fared."""
    kept = kept_by_account(conn)
    for row in conn.execute(select(account)):
        number, since = kept.get(row.id, (0, None))
        yield AccountReport(
            row.id,
            row.name,
            row.kind,
            row.succeeded_at,
            row.failed_at,
            row.error,
            row.cause,
            failures=row.failures,
            kept=number,
            kept_since=since,
        )


def _mailboxes(conn: Connection) -> Iterator[MailboxReport]:
    live = (
        select(
            server_message.c.mailbox_id,
            func.count().label("messages"),
            func.count(server_message.c.body_id).label("fetched"),
            func.sum(server_message.c.size_bytes).label("size_bytes"),
            func.sum(case((server_message.c.body_id.is_(None), 0), else_=server_message.c.size_bytes)).label(
                "fetched_bytes"
            ),
        )
        .where(server_message.c.gone_at.is_(None))
        .group_by(server_message.c.mailbox_id)
        .subquery()
    )
    is_on_device = exists().where(replica.c.mailbox_id == mailbox.c.id)
    query = (
        select(mailbox, live.c.messages, live.c.fetched, live.c.size_bytes, live.c.fetched_bytes)
        .outerjoin(live, live.c.mailbox_id == mailbox.c.id)
        .where(or_(mailbox.c.gone_at.is_(None), is_on_device))
    )
    for row in conn.execute(query):
        yield MailboxReport(
            id=row.id,
            account_id=row.account_id,
            name=row.name,
            is_synced=row.is_selectable and row.is_selected and row.gone_at is None,
            is_gone=row.gone_at is not None or not row.is_selectable,
            messages=row.messages or 0,
            fetched=row.fetched or 0,
            error=row.error,
            size_bytes=int(row.size_bytes or 0),
            fetched_bytes=int(row.fetched_bytes or 0),
            unlisted=0 if row.is_listed else max(row.exists_count - (row.messages or 0), 0),
            uidvalidity=row.uidvalidity,
            has_modseq=row.highestmodseq is not None or not row.is_listed,
        )


def device_reports(conn: Connection) -> Iterator[DeviceReport]:
    """Yield where each device stands."""
    for row in conn.execute(select(device)):
        yield DeviceReport(row.id, row.name, row.state, row.settled_at, row.error, row.layout, row.cause)


def _replicas(conn: Connection, selections: Mapping[str, Selection]) -> Iterator[ReplicaReport]:
    waiting = waiting_by_replica(conn, selections)
    unsynced = unsynced_by_replica(conn)
    flagged = flagged_by_replica(conn)
    is_there = replica_message.c.state.in_(SYNCED)
    query = (
        select(
            replica.c.id,
            replica.c.device_id,
            replica.c.mailbox_id,
            func.sum(_where(is_there, 1)).label("delivered"),
            func.sum(_where(is_there, replica_message.c.size_bytes)).label("delivered_bytes"),
        )
        .outerjoin(replica_message, replica_message.c.replica_id == replica.c.id)
        .where(replica.c.selection != LEFT)
        .group_by(replica.c.id, replica.c.device_id, replica.c.mailbox_id)
    )
    for row in conn.execute(query):
        kinds = unsynced.get(row.id, {})
        yield ReplicaReport(
            device_id=row.device_id,
            mailbox_id=row.mailbox_id,
            delivered=int(row.delivered or 0),
            waiting=waiting.get(row.id, 0),
            new=kinds.get(ReplicaState.NEW, 0) + kinds.get(ReplicaState.FOUND, 0),
            missing=kinds.get(ReplicaState.MISSING, 0),
            deleted=kinds.get(ReplicaState.DELETED, 0),
            edited=kinds.get(ReplicaState.EDITED, 0),
            flagged=flagged.get(row.id, 0),
            delivered_bytes=int(row.delivered_bytes or 0),
        )


def waiting_by_replica(conn: Connection, selections: Mapping[str, Selection] = NO_LIMITS) -> Mapping[int, int]:
    """Count by replica the server rows that changed since its cursor, and of which it gets a file or has one.

    selections: what devices take, by name; of the others any message counts.
    """
    comes: ColumnElement[bool] = server_message.c.gone_at.is_(None)
    limits = [
        (device.c.name == name, _is_taken(selection)) for name, selection in selections.items() if selection.is_limited
    ]
    if limits:
        comes = and_(comes, case(*limits, else_=true()))
    query = (
        select(replica.c.id, func.count().label("number"))
        .join(device, device.c.id == replica.c.device_id)
        .join(mailbox, mailbox.c.id == replica.c.mailbox_id)
        .join(server_message, server_message.c.mailbox_id == mailbox.c.id)
        .where(
            mailbox.c.version > replica.c.server_cursor,
            server_message.c.version > replica.c.server_cursor,
            or_(comes, _HAS_A_FILE),
        )
        .group_by(replica.c.id)
    )
    return {row.id: row.number for row in conn.execute(query)}


def unsynced_by_replica(conn: Connection) -> Mapping[int, Mapping[str, int]]:
    """Count by replica and state the files with what its device did on its own; an empty file is nothing to send."""
    query = (
        select(replica_message.c.replica_id, replica_message.c.state, func.count().label("number"))
        .where(is_unsettled(*UNSYNCED), ~is_empty())
        .group_by(replica_message.c.replica_id, replica_message.c.state)
    )
    found: dict[int, dict[str, int]] = {}
    for row in conn.execute(query):
        found.setdefault(row.replica_id, {})[row.state] = row.number
    return found


def flagged_by_replica(conn: Connection) -> Mapping[int, int]:
    """Count by replica the files whose flags the device changed since its server heard of it last."""
    files, base = replica_message.c, base_message.c
    query = (
        select(replica.c.id, func.count().label("number"))
        .join(replica_message, and_(files.replica_id == replica.c.id, files.version > replica.c.replica_cursor))
        .join(base_message, and_(base.replica_id == replica.c.id, base.message_id == files.message_id))
        .where(
            replica.c.version > replica.c.replica_cursor,
            files.state == ReplicaState.PRESENT,
            files.flags != base.flags,
        )
        .group_by(replica.c.id)
    )
    return {row.id: row.number for row in conn.execute(query)}


def _is_taken(selection: Selection) -> ColumnElement[bool]:
    bounds: list[ColumnElement[bool]] = [false()] if selection.takes_none else []
    bounds += [] if selection.not_before is None else [server_message.c.internaldate >= selection.not_before]
    bounds += [] if selection.max_size_bytes is None else [server_message.c.size_bytes <= selection.max_size_bytes]
    return and_(true(), *bounds)


def _where(condition: ColumnElement[bool], value: Any) -> ColumnElement[Any]:
    return case((condition, value), else_=0)


_HAS_A_FILE = exists().where(
    replica_message.c.message_id == server_message.c.id, replica_message.c.replica_id == replica.c.id
)
_LAST_CHANGE = select(history.c.at).order_by(history.c.id.desc()).limit(1)
