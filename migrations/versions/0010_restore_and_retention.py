"""Deleted messages that a person wants back, and when bodies that nobody needs were swept last."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("journal", sa.Column("message_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))
    op.add_column("store", sa.Column("swept_at", sa.Double(), server_default="0", nullable=False))
