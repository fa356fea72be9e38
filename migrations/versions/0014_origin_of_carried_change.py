"""Of which message a carried change is, so that it can be put back if it turns out to be deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("carried_change", sa.Column("origin_id", key, nullable=True))
