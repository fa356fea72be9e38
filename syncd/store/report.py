"""Floor 3: what `syncd status` and `syncd plan` ask of the store: counts and last errors, nothing of any message."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, or_, select

from syncd.mail.mailbox import INBOX
from syncd.mail.tree import UNSYNCED, ReplicaState
from syncd.store.custody import TRIES_MAX
from syncd.store.devices import LEFT, device_names
from syncd.store.holds import Hold, holds
from syncd.store.journal import UploadState
from syncd.store.mailbox_changes import mailbox_changes
from syncd.store.schema import (
    account,
    device,
    journal,
    mailbox,
    mailbox_change,
    replica,
    replica_message,
    server_message,
    trouble,
    uidl,
)
from syncd.store.troubles import NEVER
from syncd.store.uploads import due_at


@dataclass(frozen=True, slots=True)
class AccountReport:
    """Say how an account fared. Times are seconds since 1970; failures are those since the last success."""

    id: int
    name: str
    kind: str
    succeeded_at: float | None
    failed_at: float | None
    error: str | None
    failures: int


@dataclass(frozen=True, slots=True)
class MailboxReport:
    """Count a mailbox of the server tree: its messages, and those of them whose body is in the store.

    is_gone: its server has it no more.
    """

    id: int
    account_id: int
    name: str
    is_synced: bool
    is_gone: bool
    messages: int
    fetched: int
    error: str | None


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """Say where a device stands; settled_at is when its files were last made durable."""

    id: int
    name: str
    state: str
    settled_at: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """Count a replica: files delivered, server changes it waits for, and by kind what its device did on its own."""

    device_id: int
    mailbox_id: int
    delivered: int
    waiting: int
    new: int
    missing: int
    deleted: int
    edited: int


@dataclass(frozen=True, slots=True)
class TroubleReport:
    """Describe a message that is set aside.

    device_id None: server side. uid None: it has none yet, being in a maildrop still, whose next session is the first
    after retry_at, or, with a device, a file that it added and that the server did not take. retry_at None: not by
    itself.
    """

    mailbox_id: int
    device_id: int | None
    uid: int | None
    error: str
    attempts: int
    since_at: float
    retry_at: float | None


@dataclass(frozen=True, slots=True)
class RefusedMailbox:
    """Describe a mailbox that a device made or removed, and of which its server does not do that.

    retry_at None: not by itself.
    """

    account_id: int
    device_id: int
    name: str
    error: str
    attempts: int
    since_at: float
    retry_at: float | None


@dataclass(frozen=True, slots=True)
class HoldReport:
    """Name the account, the mailbox and the device of a hold; device None: it is the account's."""

    hold: Hold
    account: str
    mailbox: str
    device: str | None


@dataclass(frozen=True, slots=True)
class StoreReport:
    """Hold one snapshot of everything that status shows."""

    accounts: tuple[AccountReport, ...]
    mailboxes: tuple[MailboxReport, ...]
    devices: tuple[DeviceReport, ...]
    replicas: tuple[ReplicaReport, ...]
    troubles: tuple[TroubleReport, ...]
    holds: tuple[HoldReport, ...]
    mailboxes_refused: tuple[RefusedMailbox, ...] = ()


def store_report(conn: Connection, *, troubles_max: int) -> StoreReport:
    """Return the whole report; of the troubles the newest."""
    return StoreReport(
        accounts=tuple(_accounts(conn)),
        mailboxes=tuple(_mailboxes(conn)),
        devices=tuple(_devices(conn)),
        replicas=tuple(_replicas(conn)),
        troubles=(
            *_troubles(conn, limit=troubles_max),
            *_untaken(conn, limit=troubles_max),
            *_refused_files(conn, limit=troubles_max),
        ),
        holds=held(conn),
        mailboxes_refused=tuple(_refused_mailboxes(conn)),
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


def trouble_count(conn: Connection, *, of_accounts: Collection[str]) -> int:
    """Return how many messages of these accounts are set aside, each counted once for every side.

    Those that a maildrop keeps because they could not be taken, or not deleted, are among them, and files and mailboxes
    that devices added and that a server did not take.
    """
    query = (
        select(func.count())
        .select_from(trouble)
        .join(mailbox, mailbox.c.id == trouble.c.mailbox_id)
        .join(account, account.c.id == mailbox.c.account_id)
        .where(account.c.name.in_(of_accounts))
    )
    in_maildrops = (
        select(func.count())
        .select_from(uidl)
        .join(account, account.c.id == uidl.c.account_id)
        .where(uidl.c.error.is_not(None), account.c.name.in_(of_accounts))
    )
    refused = (
        select(func.count())
        .select_from(journal)
        .join(account, account.c.id == journal.c.account_id)
        .where(_is_refused(), account.c.name.in_(of_accounts))
    )
    mailboxes = (
        select(func.count())
        .select_from(mailbox_change)
        .join(account, account.c.id == mailbox_change.c.account_id)
        .where(mailbox_change.c.error.is_not(None), account.c.name.in_(of_accounts))
    )
    return sum(int(conn.execute(each).scalar_one()) for each in (query, in_maildrops, refused, mailboxes))


def mailbox_errors(conn: Connection, *, of_accounts: Collection[str]) -> Mapping[tuple[str, str], str]:
    """Return why mailboxes of these accounts could not be read, by account and name."""
    query = (
        select(account.c.name.label("account_name"), mailbox.c.name, mailbox.c.error)
        .join(mailbox, mailbox.c.account_id == account.c.id)
        .where(
            account.c.name.in_(of_accounts),
            mailbox.c.error.is_not(None),
            mailbox.c.gone_at.is_(None),
            mailbox.c.is_selectable,
            mailbox.c.is_selected,
        )
        .order_by(account.c.name, mailbox.c.name)
    )
    return {(row.account_name, row.name): row.error for row in conn.execute(query)}


def _accounts(conn: Connection) -> Iterator[AccountReport]:
    for row in conn.execute(select(account)):
        yield AccountReport(
            row.id, row.name, row.kind, row.succeeded_at, row.failed_at, row.error, failures=row.failures
        )


def _mailboxes(conn: Connection) -> Iterator[MailboxReport]:
    live = (
        select(
            server_message.c.mailbox_id,
            func.count().label("messages"),
            func.count(server_message.c.body_id).label("fetched"),
        )
        .where(server_message.c.gone_at.is_(None))
        .group_by(server_message.c.mailbox_id)
        .subquery()
    )
    is_on_device = exists().where(replica.c.mailbox_id == mailbox.c.id)
    query = (
        select(mailbox, live.c.messages, live.c.fetched)
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
        )


def _devices(conn: Connection) -> Iterator[DeviceReport]:
    for row in conn.execute(select(device)):
        yield DeviceReport(row.id, row.name, row.state, row.settled_at, row.error)


def _replicas(conn: Connection) -> Iterator[ReplicaReport]:
    waiting = _waiting(conn)
    unsynced = _unsynced(conn)
    delivered = func.sum(_one_where(replica_message.c.state.in_({ReplicaState.PRESENT, ReplicaState.MOVING})))
    query = (
        select(replica.c.id, replica.c.device_id, replica.c.mailbox_id, delivered.label("delivered"))
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
        )


def _waiting(conn: Connection) -> dict[int, int]:
    """Count by replica the server rows that changed since its cursor."""
    query = (
        select(replica.c.id, func.count().label("number"))
        .join(mailbox, mailbox.c.id == replica.c.mailbox_id)
        .join(server_message, server_message.c.mailbox_id == mailbox.c.id)
        .where(mailbox.c.version > replica.c.server_cursor, server_message.c.version > replica.c.server_cursor)
        .group_by(replica.c.id)
    )
    return {row.id: row.number for row in conn.execute(query)}


def _unsynced(conn: Connection) -> dict[int, dict[str, int]]:
    query = (
        select(replica_message.c.replica_id, replica_message.c.state, func.count().label("number"))
        .where(replica_message.c.state != ReplicaState.PRESENT, replica_message.c.state.in_(UNSYNCED))
        .group_by(replica_message.c.replica_id, replica_message.c.state)
    )
    found: dict[int, dict[str, int]] = {}
    for row in conn.execute(query):
        found.setdefault(row.replica_id, {})[row.state] = row.number
    return found


def _troubles(conn: Connection, *, limit: int) -> Iterator[TroubleReport]:
    query = (
        select(trouble, server_message.c.uid)
        .join(server_message, server_message.c.id == trouble.c.message_id)
        .order_by(trouble.c.since_at.desc(), trouble.c.id)
        .limit(limit)
    )
    for row in conn.execute(query):
        yield TroubleReport(
            mailbox_id=row.mailbox_id,
            device_id=row.device_id,
            uid=row.uid,
            error=row.error,
            attempts=row.attempts,
            since_at=row.since_at,
            retry_at=None if row.retry_at >= NEVER else row.retry_at,
        )


def _untaken(conn: Connection, *, limit: int) -> Iterator[TroubleReport]:
    """Yield what a maildrop keeps because it could not be taken, or not deleted; a message too large has no tries."""
    inbox = (mailbox.c.account_id == uidl.c.account_id) & (mailbox.c.name == str(INBOX))
    query = (
        select(uidl, mailbox.c.id.label("mailbox_id"))
        .join(mailbox, inbox)
        .where(uidl.c.error.is_not(None))
        .order_by(uidl.c.seen_at.desc(), uidl.c.id)
        .limit(limit)
    )
    for row in conn.execute(query):
        yield TroubleReport(
            mailbox_id=row.mailbox_id,
            device_id=None,
            uid=None,
            error=row.error,
            attempts=row.tries,
            since_at=row.seen_at,
            retry_at=row.seen_at if 0 < row.tries < TRIES_MAX else None,
        )


def _refused_files(conn: Connection, *, limit: int) -> Iterator[TroubleReport]:
    """Yield the files that devices added and that a server did not take."""
    query = (
        select(journal, replica.c.device_id)
        .join(replica_message, replica_message.c.id == journal.c.replica_message_id)
        .join(replica, replica.c.id == replica_message.c.replica_id)
        .where(_is_refused())
        .order_by(journal.c.id.desc())
        .limit(limit)
    )
    for row in conn.execute(query):
        yield TroubleReport(
            mailbox_id=row.mailbox_id,
            device_id=row.device_id,
            uid=None,
            error=row.error,
            attempts=row.attempts,
            since_at=row.begun_at,
            retry_at=due_at(row.begun_at, row.attempts),
        )


def _refused_mailboxes(conn: Connection) -> Iterator[RefusedMailbox]:
    for one in mailbox_changes(conn):
        if one.error is not None:
            yield RefusedMailbox(
                account_id=one.account_id,
                device_id=one.device_id,
                name=str(one.name),
                error=one.error,
                attempts=one.attempts,
                since_at=one.asked_at,
                retry_at=None if one.due_at >= NEVER else one.due_at,
            )


def _is_refused() -> ColumnElement[bool]:
    return and_(journal.c.kind == UploadState.TAKEN_IN.value, journal.c.error.is_not(None))


def _one_where(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return case((condition, 1), else_=0)
