"""What is gone of a mailbox is found, and its number subtracted, without a look at what is there."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    where = sa.text("gone_at IS NOT NULL")
    op.create_index(
        "ix_server_message_gone", "server_message", ["mailbox_id"], sqlite_where=where, postgresql_where=where
    )
