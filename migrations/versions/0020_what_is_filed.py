"""What is filed costs nothing where the journal is asked for anything else; a table that was never used is gone."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("lease")  # who owns a store is said by its lock
    op.create_index("ix_journal_kind", "journal", ["kind", "account_id", "begun_at"])
    op.drop_index("ix_journal_account_id_kind", "journal")
