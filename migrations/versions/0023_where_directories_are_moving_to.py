"""Where a directory of a device is about to be, committed before it is renamed."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("replica", sa.Column("moving_to", sa.Text(), nullable=True))
