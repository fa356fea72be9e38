"""Deletions by devices: a row of a file may be deleted; an older syncd does not know that, and refuses the store."""

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change no table: that the store has this revision is what is new."""
