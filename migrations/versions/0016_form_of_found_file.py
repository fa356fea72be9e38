"""The form in which a file that was there before us has the octets of a body that it may be."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("journal", sa.Column("form", sa.Text(), nullable=True))
