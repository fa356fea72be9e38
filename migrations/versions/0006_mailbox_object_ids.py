"""What a server calls a mailbox for good, by which one that is renamed is the same."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mailbox", sa.Column("object_id", sa.Text(), nullable=True))
