"""Indexes by which a message that was moved or copied on its server finds the body that the store has."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_server_message_internaldate_size_bytes"), "server_message", ["internaldate", "size_bytes"])
    op.create_index(op.f("ix_server_message_email_id"), "server_message", ["email_id"])
