"""Who owns a store is said by its lock; a table for that was never used."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("lease")
