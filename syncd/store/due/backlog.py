"""Floor 3: the backlog of a server: changes that it refused and bodies that it did not give, to be asked for again."""

from functools import cache
from typing import Any

from sqlalchemy import Connection, Double, Select, bindparam, select

from syncd.store.due import carried_changes
from syncd.store.tables.schema import mailbox, server_message, trouble
from syncd.store.trees import troubles


def refused_stores(conn: Connection, *, mailbox_id: int) -> frozenset[int]:
    """Return the messages whose change the server refused."""
    return frozenset(conn.execute(_REFUSED_STORES, {"of_mailbox": mailbox_id}).scalars())


def mailboxes_with_due_stores(conn: Connection, *, account_id: int, now: float) -> frozenset[int]:
    """Return the mailboxes in which a change is to be stored that the server refused before, or that was carried."""
    due = _due_mailboxes(conn, account_id=account_id, has_body=True, now=now)
    return due | carried_changes.mailboxes_with_changes(conn, account_id=account_id, now=now)


def mailboxes_with_due_bodies(conn: Connection, *, account_id: int, now: float) -> frozenset[int]:
    """Return the mailboxes of which a body is due that was not given before, or that tells where a change belongs."""
    due = _due_mailboxes(conn, account_id=account_id, has_body=False, now=now)
    return due | carried_changes.mailboxes_without_bodies(conn, account_id=account_id, now=now)


def _due_mailboxes(conn: Connection, *, account_id: int, has_body: bool, now: float) -> frozenset[int]:
    return frozenset(conn.execute(_due(has_body=has_body), {"of_account": account_id, "by": now}).scalars())


@cache
def _due(*, has_body: bool) -> Select[Any]:
    return (
        select(trouble.c.mailbox_id)
        .join(server_message, server_message.c.id == trouble.c.message_id)
        .join(mailbox, mailbox.c.id == trouble.c.mailbox_id)
        .where(
            mailbox.c.account_id == bindparam("of_account"),
            trouble.c.device_id.is_(None),
            troubles.is_due(bindparam("by", type_=Double())),
            server_message.c.body_id.is_not(None) if has_body else server_message.c.body_id.is_(None),
        )
        .distinct()
    )


_REFUSED_STORES = (
    select(trouble.c.message_id)
    .join(server_message, server_message.c.id == trouble.c.message_id)
    .where(
        trouble.c.mailbox_id == bindparam("of_mailbox"),
        trouble.c.device_id.is_(None),
        server_message.c.body_id.is_not(None),
    )
)
