"""Floor 3: the indexes of a part of a table's rows; only migrations look at them.

NOTE: an option of PostgreSQL makes SQLAlchemy load what it has for all drivers of PostgreSQL, 25 ms that a store in
SQLite does not need.
"""

from sqlalchemy import Index, text

from syncd.store.schema import metadata, replica_message, server_message

__all__ = ["metadata"]

Index(
    "ix_server_message_wanted",
    server_message.c.mailbox_id,
    server_message.c.uid,
    sqlite_where=text("body_id IS NULL AND gone_at IS NULL"),
    postgresql_where=text("body_id IS NULL AND gone_at IS NULL"),
)

Index(
    "ix_replica_message_unsettled",
    replica_message.c.replica_id,
    replica_message.c.state,
    sqlite_where=text("state <> 'present'"),
    postgresql_where=text("state <> 'present'"),
)

Index(
    "ix_server_message_email_id",
    server_message.c.email_id,
    sqlite_where=text("email_id IS NOT NULL"),
    postgresql_where=text("email_id IS NOT NULL"),
)
