"""The store remembers what each hook was told."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hook",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("history_cursor", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_hook"),
    )
    op.create_table(
        "hook_told",
        sa.Column("hook", sa.Text(), nullable=False),
        sa.Column("trouble", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["hook"], ["hook.name"], name="fk_hook_told_hook", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hook", "trouble", name="pk_hook_told"),
    )
