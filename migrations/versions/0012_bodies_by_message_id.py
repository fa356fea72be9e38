"""Bodies are found by their Message-ID, whatever else the store has."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_body_message_id", "body", ["message_id"])
