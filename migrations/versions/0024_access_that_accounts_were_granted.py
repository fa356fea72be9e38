"""What accounts were granted by providers of OAuth, sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "oauth_grant",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("account_id", Id, nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.Double(), nullable=False),
        sa.Column("renewed_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_oauth_grant_account_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_oauth_grant"),
        sa.UniqueConstraint("account_id", name="uq_oauth_grant_account_id"),
        sqlite_autoincrement=True,
    )
