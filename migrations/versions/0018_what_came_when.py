"""When a message and a mailbox were first seen on their server, and with which flags an added file was sent."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("server_message", sa.Column("came_at", sa.Double(), nullable=True))
    op.add_column("mailbox", sa.Column("came_at", sa.Double(), nullable=True))
    op.add_column("journal", sa.Column("sent_flags", sa.Text(), nullable=True))
