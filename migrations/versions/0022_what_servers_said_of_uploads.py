"""Where a message is by the word of its server, of what was sent and not seen."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("journal", sa.Column("told_uid", sa.BigInteger(), nullable=True))
