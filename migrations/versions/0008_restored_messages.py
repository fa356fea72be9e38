"""The flags of messages that their server deleted, and that devices put back because they changed them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("journal", sa.Column("restored_flags", sa.Text()))
    op.add_column("journal", sa.Column("base_flags", sa.Text()))
