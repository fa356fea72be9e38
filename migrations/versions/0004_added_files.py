"""Indexes of the journal, which from here on has the files that devices added; an older syncd refuses the store."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_journal_account_id_kind"), "journal", ["account_id", "kind"])
    op.create_index(op.f("ix_journal_replica_message_id"), "journal", ["replica_message_id"])
    op.create_index(op.f("ix_journal_digest"), "journal", ["digest"])
