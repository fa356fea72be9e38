"""What custody knows of a message is found by the message, as when its account is purged."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    where = sa.text("message_id IS NOT NULL")
    op.create_index("ix_uidl_message_id", "uidl", ["message_id"], sqlite_where=where, postgresql_where=where)
