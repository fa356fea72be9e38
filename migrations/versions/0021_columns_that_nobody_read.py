"""Columns that nobody read are gone, and with one of them a constraint that no two rows could break."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.drop_column("tombstone", "header_digest")
    op.drop_column("body", "dictionary_id")  # of a million bodies, that takes SQLite a second or two
    if op.get_bind().dialect.name == "sqlite":
        _make_trouble_anew()
    else:
        op.drop_column("trouble", "account_id")  # and its constraints


def _make_trouble_anew() -> None:
    """Do what SQLite cannot do with a column that has constraints.

    NOTE: Alembic would put the constraints that stay into any order; but all stores are to have the same text.
    """
    op.rename_table("trouble", "trouble_before")
    op.drop_index("ix_trouble_message_id", "trouble_before")
    op.create_table(
        "trouble",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("device_id", Id),
        sa.Column("mailbox_id", Id),
        sa.Column("message_id", Id),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("temper", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("since_at", sa.Double(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name="fk_trouble_device_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name="fk_trouble_mailbox_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["server_message.id"], name="fk_trouble_message_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_trouble"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_trouble_message_id", "trouble", ["message_id"])
    columns = "id, device_id, mailbox_id, message_id, error, temper, attempts, since_at, retry_at"
    op.execute(f"INSERT INTO trouble ({columns}) SELECT {columns} FROM trouble_before")  # noqa: S608 - both are ours
    op.drop_table("trouble_before")
