"""Floor 3: the mail that came to devices since a row of the history, as a hook is told of it.

Theory. A delivery has its row of the history in the transaction that settles it, when the file is in the replica, for
good. What a device wrote itself is delivered to the others only, and what is moved by a rename to nobody. Many that
were delivered together have one row with a number: these are counted, and cannot be named.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, and_, func, select

from syncd.mail.flags import Flags, parse_flags
from syncd.mail.tree import SYNCED, ReplicaState
from syncd.store.people.tallies import last_deed
from syncd.store.tables.own_tables import history
from syncd.store.tables.schema import account, device, mailbox, replica, replica_message, server_message
from syncd.store.trees.history import Outcome
from syncd.values import Value

_WITH_FILE = SYNCED | {ReplicaState.EDITED}
_DELIVER = "deliver"
_MAILBOXES_MAX = 1000


class NewInMailbox(Value):
    """Count the messages that came to a device's copy of a mailbox; directory: below root, None where it is gone."""

    device: str
    account: str
    mailbox: str
    root: str
    directory: str | None
    count: int


class NewMessage(Value):
    """Name a message that came to a device and is there still, and the parts of its file's name."""

    id: int
    device: str
    account: str
    mailbox: str
    uid: int
    delivered_at: float
    root: str
    directory: str
    subdir: str
    name: str
    info: str | None
    flags: Flags
    size_bytes: int


class NewMail(Value):
    """Hold what came up to a row of the history: counts, and the newest of the messages.

    is_whole: each that is counted, and is there still, is among the messages, and the history had all of it.
    """

    upto: int
    count: int = 0
    mailboxes: tuple[NewInMailbox, ...] = ()
    messages: tuple[NewMessage, ...] = ()
    is_whole: bool = True


def new_mail(
    conn: Connection, *, after: int, accounts: Collection[str], devices: Collection[str], limit: int
) -> NewMail:
    """Return what came to these devices of these accounts after a row of the history; limit: of messages."""
    upto = last_deed(conn)
    if upto <= after:
        return NewMail(after)
    mailboxes, is_named = _counts(conn, after, upto, accounts, devices)
    if not mailboxes:
        return NewMail(upto)
    messages = _messages(conn, after, upto, accounts, devices, limit=limit)
    oldest = conn.execute(select(func.min(history.c.id))).scalar_one()
    return NewMail(
        upto,
        sum(one.count for one in mailboxes),
        mailboxes[:_MAILBOXES_MAX],
        messages[-limit:],
        is_named and len(messages) <= limit and len(mailboxes) <= _MAILBOXES_MAX and oldest <= after + 1,
    )


def _counts(
    conn: Connection, after: int, upto: int, accounts: Collection[str], devices: Collection[str]
) -> tuple[tuple[NewInMailbox, ...], bool]:
    """Return the mailboxes that got mail, and whether each message has a row of its own."""
    query = (
        select(
            device.c.name,
            account.c.name.label("account_name"),
            mailbox.c.name.label("mailbox_name"),
            device.c.path,
            replica.c.directory,
            func.sum(history.c.messages).label("number"),
            func.count(history.c.message_id).label("named"),
        )
        .select_from(history)
        .join(device, device.c.id == history.c.device_id)
        .join(mailbox, mailbox.c.id == history.c.mailbox_id)
        .join(account, account.c.id == mailbox.c.account_id)
        .outerjoin(replica, and_(replica.c.device_id == device.c.id, replica.c.mailbox_id == mailbox.c.id))
        .where(*_is_delivery(after, upto))
        .group_by(device.c.name, account.c.name, mailbox.c.name, device.c.path, replica.c.directory)
        .order_by(device.c.name, account.c.name, mailbox.c.name)
    )
    rows = [row for row in conn.execute(query) if row.account_name in accounts and row.name in devices]
    found = tuple(
        NewInMailbox(row.name, row.account_name, row.mailbox_name, row.path, row.directory, int(row.number))
        for row in rows
    )
    return found, all(row.named == row.number for row in rows)


def _messages(
    conn: Connection, after: int, upto: int, accounts: Collection[str], devices: Collection[str], *, limit: int
) -> tuple[NewMessage, ...]:
    """Return the newest that have a row of their own and are there, oldest first; one more than the limit if more."""
    file = replica_message.c
    query = (
        select(
            server_message.c.id,
            device.c.name.label("device_name"),
            account.c.name.label("account_name"),
            mailbox.c.name.label("mailbox_name"),
            server_message.c.uid,
            func.max(history.c.at).label("delivered_at"),
            device.c.path,
            replica.c.directory,
            file.subdir,
            file.name,
            file.info,
            file.flags,
            file.size_bytes,
        )
        .select_from(history)
        .join(device, device.c.id == history.c.device_id)
        .join(mailbox, mailbox.c.id == history.c.mailbox_id)
        .join(account, account.c.id == mailbox.c.account_id)
        .join(server_message, server_message.c.id == history.c.message_id)
        .join(replica, and_(replica.c.device_id == device.c.id, replica.c.mailbox_id == mailbox.c.id))
        .join(replica_message, and_(file.message_id == server_message.c.id, file.replica_id == replica.c.id))
        .where(
            *_is_delivery(after, upto),
            file.state.in_(_WITH_FILE),
            account.c.name.in_(tuple(accounts)),
            device.c.name.in_(tuple(devices)),
        )
        .group_by(server_message.c.id, device.c.id, account.c.id, mailbox.c.id, replica.c.id, file.id)
        .order_by(func.max(history.c.id).desc())
        .limit(limit + 1)
    )
    return tuple(
        NewMessage(
            id=row.id,
            device=row.device_name,
            account=row.account_name,
            mailbox=row.mailbox_name,
            uid=row.uid,
            delivered_at=row.delivered_at,
            root=row.path,
            directory=row.directory,
            subdir=row.subdir,
            name=row.name,
            info=row.info,
            flags=parse_flags(row.flags),
            size_bytes=row.size_bytes,
        )
        for row in reversed(conn.execute(query).all())
    )


def _is_delivery(after: int, upto: int) -> tuple[ColumnElement[bool], ...]:
    return (
        history.c.id > after,
        history.c.id <= upto,
        history.c.verb == _DELIVER,
        history.c.outcome == Outcome.DONE.value,
    )
