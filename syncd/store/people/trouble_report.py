"""Floor 3: what went wrong, for `syncd status`: what is set aside, refused, or left in a maildrop, and why."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from syncd.mail.mailbox import INBOX
from syncd.store.engine.queries import has_key, rows_in
from syncd.store.mailboxes.custody import TRIES_MAX
from syncd.store.mailboxes.mailbox_changes import mailbox_changes
from syncd.store.tables.schema import (
    account,
    journal,
    mailbox,
    mailbox_change,
    replica,
    replica_message,
    server_message,
    trouble,
    uidl,
)
from syncd.store.trees.journal import UploadState
from syncd.store.trees.troubles import NEVER, due_at
from syncd.values import Value


class TroubleReport(Value):
    """Describe a message that is set aside.

    key: another one for each trouble, and the same at each try. device_id None: server side. uid None: it has none yet,
    being in a maildrop still, whose next session is the first after retry_at, or, with a device, a file that it added
    and that the server did not take. Of a deleted message that a person wants back it is the one that it had. retry_at
    None: not by itself.
    """

    key: str
    mailbox_id: int
    device_id: int | None
    uid: int | None
    error: str
    attempts: int
    since_at: float
    retry_at: float | None


class RefusedMailbox(Value):
    """Describe a mailbox that a device made or removed, and of which its server does not do that.

    key: as of a message. retry_at None: not by itself.
    """

    key: str
    account_id: int
    device_id: int
    name: str
    error: str
    attempts: int
    since_at: float
    retry_at: float | None


def trouble_count(conn: Connection, *, of_accounts: Collection[str]) -> int:
    """Return how many messages of these accounts are set aside."""
    counts = trouble_counts(conn)
    return sum(counts.get(name, 0) for name in of_accounts)


def trouble_counts(conn: Connection) -> Mapping[str, int]:
    """Return by account how many messages are set aside, each counted once for every side.

    Those that a maildrop keeps because they could not be taken, or not deleted, are among them, and files and mailboxes
    that devices added and that a server did not take.
    """
    counts: Counter[str] = Counter()
    for query in _numbers():
        counts.update({row.name: row.number for row in conn.execute(query)})
    return counts


@cache
def _numbers() -> tuple[Select[Any], ...]:
    of_account = select(account.c.name, func.count().label("number")).group_by(account.c.name)
    return (
        of_account.join(mailbox, mailbox.c.account_id == account.c.id).join(
            trouble, trouble.c.mailbox_id == mailbox.c.id
        ),
        of_account.join(uidl, uidl.c.account_id == account.c.id).where(uidl.c.error.is_not(None)),
        of_account.join(journal, journal.c.account_id == account.c.id).where(_is_refused()),
        of_account.join(mailbox_change, mailbox_change.c.account_id == account.c.id).where(
            mailbox_change.c.error.is_not(None)
        ),
    )


def mailbox_errors(conn: Connection, *, of_accounts: Collection[str]) -> Mapping[tuple[str, str], str]:
    """Return why mailboxes of these accounts could not be read, by account and name."""
    rows = conn.execute(_mailbox_errors(), {"names": of_accounts})
    return {(row.account_name, row.name): row.error for row in rows}


@cache
def _mailbox_errors() -> Select[Any]:
    return (
        select(account.c.name.label("account_name"), mailbox.c.name, mailbox.c.error)
        .join(mailbox, mailbox.c.account_id == account.c.id)
        .where(
            has_key(account.c.name, "names"),
            mailbox.c.error.is_not(None),
            mailbox.c.gone_at.is_(None),
            mailbox.c.is_selectable,
            mailbox.c.is_selected,
        )
        .order_by(account.c.name, mailbox.c.name)
    )


def troubles(conn: Connection, *, limit: int) -> tuple[TroubleReport, ...]:
    """Return the newest of each kind."""
    return (*_troubles(conn, limit=limit), *_untaken(conn, limit=limit), *_refused_files(conn, limit=limit))


def _troubles(conn: Connection, *, limit: int) -> Iterator[TroubleReport]:
    query = (
        select(trouble, server_message.c.uid)
        .join(server_message, server_message.c.id == trouble.c.message_id)
        .order_by(trouble.c.since_at.desc(), trouble.c.id)
        .limit(limit)
    )
    for row in conn.execute(query):
        yield TroubleReport(
            key=f"message {row.id}",
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
            key=f"maildrop {row.id}",
            mailbox_id=row.mailbox_id,
            device_id=None,
            uid=None,
            error=row.error,
            attempts=row.tries,
            since_at=row.seen_at,
            retry_at=row.seen_at if 0 < row.tries < TRIES_MAX else None,
        )


def _refused_files(conn: Connection, *, limit: int) -> Iterator[TroubleReport]:
    """Yield what devices added, or a person wants back, and that a server did not take."""
    query = (
        select(journal, replica.c.device_id, server_message.c.uid)
        .outerjoin(server_message, server_message.c.id == journal.c.message_id)
        .outerjoin(replica_message, replica_message.c.id == journal.c.replica_message_id)
        .outerjoin(replica, replica.c.id == replica_message.c.replica_id)
        .where(_is_refused(), or_(replica.c.id.is_not(None), journal.c.message_id.is_not(None)))
        .order_by(journal.c.id.desc())
        .limit(limit)
    )
    for row in conn.execute(query):
        yield TroubleReport(
            key=f"upload {row.id}",
            mailbox_id=row.mailbox_id,
            device_id=row.device_id,
            uid=row.uid,
            error=row.error,
            attempts=row.attempts,
            since_at=row.begun_at,
            retry_at=due_at(row.begun_at, row.attempts),
        )


def refused_mailboxes(conn: Connection) -> Iterator[RefusedMailbox]:
    for one in mailbox_changes(conn):
        if one.error is not None:
            yield RefusedMailbox(
                key=f"directory {one.id}",
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


def mailbox_names(conn: Connection, ids: Collection[int]) -> Mapping[int, tuple[str, str]]:
    """Return account and name of these mailboxes."""
    query = select(mailbox.c.id, account.c.name.label("account_name"), mailbox.c.name).join(
        account, account.c.id == mailbox.c.account_id
    )
    return {row.id: (row.account_name, row.name) for row in rows_in(conn, query, mailbox.c.id, ids)}
