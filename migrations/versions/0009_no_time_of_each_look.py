"""When a mailbox was looked at last is not kept any more: to write it was all that a look without news did."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_column("mailbox", "observed_at")
