"""Indexes by which a message that was moved or copied on its server finds the body that the store has."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_server_message_internaldate_size_bytes"), "server_message", ["internaldate", "size_bytes"])
    has_email_id = sa.text("email_id IS NOT NULL")
    op.create_index(
        op.f("ix_server_message_email_id"),
        "server_message",
        ["email_id"],
        sqlite_where=has_email_id,
        postgresql_where=has_email_id,
    )
