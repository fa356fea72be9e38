"""Floor 3: the indexes of a part of a table's rows, and with them the whole of `metadata`; only migrations look at it.

NOTE: an option of PostgreSQL makes SQLAlchemy load what it has for all drivers of PostgreSQL, 25 ms that a store in
SQLite does not need.
"""

from typing import Any

from sqlalchemy import Column, Index, text

from syncd.store.tables import own_tables  # noqa: F401  # so that `metadata` has them
from syncd.store.tables.columns import metadata
from syncd.store.tables.schema import replica_message, server_message, uidl

__all__ = ["metadata"]


def _partial_index(name: str, *columns: Column[Any], where: str) -> None:
    """Add an index of those rows to the columns' table."""
    Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


_message, _file = server_message.c, replica_message.c
_partial_index(
    "ix_server_message_wanted", _message.mailbox_id, _message.uid, where="body_id IS NULL AND gone_at IS NULL"
)
_partial_index("ix_server_message_gone", _message.mailbox_id, where="gone_at IS NOT NULL")
_partial_index("ix_server_message_email_id", _message.email_id, where="email_id IS NOT NULL")
_partial_index("ix_uidl_message_id", uidl.c.message_id, where="message_id IS NOT NULL")
_partial_index("ix_replica_message_unsettled", _file.replica_id, _file.state, where="state <> 'present'")
