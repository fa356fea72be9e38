"""Flags that a device changed of a message which its server has in another mailbox by now."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "carried_change",
        sa.Column("id", key, autoincrement=True, nullable=False),
        sa.Column("device_id", key, nullable=False),
        sa.Column("message_id", key, nullable=False),
        sa.Column("body_id", key, nullable=True),
        sa.Column("flags_add", sa.Text(), server_default="", nullable=False),
        sa.Column("flags_remove", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], ondelete="CASCADE", name="fk_carried_change_device_id"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["server_message.id"], ondelete="CASCADE", name="fk_carried_change_message_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_carried_change"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_carried_change_message_id", "carried_change", ["message_id"])
