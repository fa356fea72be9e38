"""What kind of thing is wrong with an account or a device, which says what to do while no daemon runs."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("account", sa.Column("cause", sa.Text(), nullable=True))
    op.add_column("device", sa.Column("cause", sa.Text(), nullable=True))
