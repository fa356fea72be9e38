"""Floor 3: for what files that were found wait until it is known what they are."""

from functools import cache
from typing import Any

from sqlalchemy import Connection, Integer, Select, bindparam, select

from syncd.mail.tree import ReplicaState
from syncd.store.tables.schema import account, mailbox, replica, replica_message
from syncd.store.trees.replica_tree import is_unsettled


def wait_for_reading(conn: Connection, *, account_id: int) -> bool:
    """Tell whether a device found files of an account since its server was read as a whole."""
    return conn.execute(_awaiting(), {"of_account": account_id}).first() is not None


@cache
def _awaiting() -> Select[Any]:
    of = bindparam("of_account", type_=Integer)
    since = select(account.c.succeeded_at).where(account.c.id == of).scalar_subquery()
    return (
        select(replica_message.c.id)
        .join(replica, replica.c.id == replica_message.c.replica_id)
        .join(mailbox, mailbox.c.id == replica.c.mailbox_id)
        .where(
            mailbox.c.account_id == of,
            mailbox.c.gone_at.is_(None),
            is_unsettled(ReplicaState.FOUND),
            replica.c.listed_at > since,
        )
        .limit(1)
    )
