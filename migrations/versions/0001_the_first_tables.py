"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("listed_at", sa.Double()),
        sa.Column("succeeded_at", sa.Double()),
        sa.Column("failed_at", sa.Double()),
        sa.Column("error", sa.Text()),
        sa.Column("failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "body",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("header_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("message_id", sa.Text()),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("lf_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("is_crlf", sa.Boolean(), nullable=False),
        sa.Column("codec", sa.Text(), nullable=False),
        sa.Column("dictionary_id", sa.BigInteger()),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("stored_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_body")),
        sa.UniqueConstraint("digest", name=op.f("uq_body_digest")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "device",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("layout", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("generation_next", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("settled_at", sa.Double()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
        sa.UniqueConstraint("name", name=op.f("uq_device_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "store",
        sa.Column(
            "id",
            sa.Integer(),
            sa.CheckConstraint("id = 1", name=op.f("ck_store_one_row")),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("store_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store")),
    )
    op.create_table(
        "body_chunk",
        sa.Column("body_id", Id, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("octets", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["body_id"], ["body.id"], name=op.f("fk_body_chunk_body_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("body_id", "seq", name=op.f("pk_body_chunk")),
    )
    op.create_table(
        "mailbox",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("account_id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("wire_name", sa.Text(), nullable=False),
        sa.Column("delimiter", sa.Text()),
        sa.Column("attributes", sa.Text(), server_default="", nullable=False),
        sa.Column("special_use", sa.Text()),
        sa.Column("is_selectable", sa.Boolean(), nullable=False),
        sa.Column("is_selected", sa.Boolean(), nullable=False),
        sa.Column("gone_at", sa.Double()),
        sa.Column("uidvalidity", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("uidnext", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("highestmodseq", sa.BigInteger()),
        sa.Column("permanent_flags", sa.Text()),
        sa.Column("accepts_keywords", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("exists_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("is_listed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("observed_at", sa.Double()),
        sa.Column("error", sa.Text()),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_mailbox_account_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailbox")),
        sa.UniqueConstraint("account_id", "wire_name", name=op.f("uq_mailbox_account_id_wire_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "guard_removal",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("scope_id", Id, nullable=False),
        sa.Column("mailbox_id", Id, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("removed", sa.BigInteger(), nullable=False),
        sa.Column("present", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailbox.id"], name=op.f("fk_guard_removal_mailbox_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guard_removal")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_guard_removal_scope_scope_id_at", "guard_removal", ["scope", "scope_id", "at"])
    op.create_table(
        "hold",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("scope_id", Id, nullable=False),
        sa.Column("mailbox_id", Id),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("effects", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("held_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=op.f("fk_hold_mailbox_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hold")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_hold_scope_scope_id", "hold", ["scope", "scope_id"])
    op.create_table(
        "replica",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("device_id", Id, nullable=False),
        sa.Column("mailbox_id", Id, nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("selection", sa.Text(), nullable=False),
        sa.Column("keywords", sa.Text(), server_default="", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("server_cursor", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("replica_cursor", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("listed_at", sa.Double()),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_replica_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=op.f("fk_replica_mailbox_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replica")),
        sa.UniqueConstraint("device_id", "directory", name=op.f("uq_replica_device_id_directory")),
        sa.UniqueConstraint("device_id", "mailbox_id", name=op.f("uq_replica_device_id_mailbox_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_replica_mailbox_id", "replica", ["mailbox_id"])
    op.create_table(
        "server_message",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("mailbox_id", Id, nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("flags", sa.Text(), server_default="", nullable=False),
        sa.Column("modseq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("internaldate", sa.BigInteger(), nullable=False),
        sa.Column("email_id", sa.Text()),
        sa.Column("body_id", Id),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("gone_at", sa.Double()),
        sa.ForeignKeyConstraint(["body_id"], ["body.id"], name=op.f("fk_server_message_body_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailbox.id"], name=op.f("fk_server_message_mailbox_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_server_message")),
        sa.UniqueConstraint(
            "mailbox_id", "uidvalidity", "uid", name=op.f("uq_server_message_mailbox_id_uidvalidity_uid")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_server_message_body_id", "server_message", ["body_id"])
    op.create_index("ix_server_message_mailbox_id_version", "server_message", ["mailbox_id", "version"])
    op.create_index(
        "ix_server_message_wanted",
        "server_message",
        ["mailbox_id", "uid"],
        sqlite_where=sa.text("body_id IS NULL AND gone_at IS NULL"),
        postgresql_where=sa.text("body_id IS NULL AND gone_at IS NULL"),
    )
    op.create_table(
        "base_message",
        sa.Column("replica_id", Id, nullable=False),
        sa.Column("message_id", Id, nullable=False),
        sa.Column("flags", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["server_message.id"], name=op.f("fk_base_message_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["replica_id"], ["replica.id"], name=op.f("fk_base_message_replica_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("replica_id", "message_id", name=op.f("pk_base_message")),
    )
    op.create_index("ix_base_message_message_id", "base_message", ["message_id"])
    op.create_table(
        "replica_message",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("replica_id", Id, nullable=False),
        sa.Column("message_id", Id),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("subdir", sa.Text(), nullable=False),
        sa.Column("flags", sa.Text(), server_default="", nullable=False),
        sa.Column("info", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime", sa.BigInteger(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("missing_since", sa.Double()),
        sa.ForeignKeyConstraint(
            ["message_id"], ["server_message.id"], name=op.f("fk_replica_message_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["replica_id"], ["replica.id"], name=op.f("fk_replica_message_replica_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replica_message")),
        sa.UniqueConstraint("replica_id", "name", name=op.f("uq_replica_message_replica_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_replica_message_message_id_replica_id", "replica_message", ["message_id", "replica_id"])
    op.create_index("ix_replica_message_replica_id_version", "replica_message", ["replica_id", "version"])
    op.create_index(
        "ix_replica_message_unsettled",
        "replica_message",
        ["replica_id", "state"],
        sqlite_where=sa.text("state <> 'present'"),
        postgresql_where=sa.text("state <> 'present'"),
    )
    op.create_table(
        "tombstone",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("replica_id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32)),
        sa.Column("header_digest", sa.LargeBinary(length=32)),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("gone_at", sa.Double(), nullable=False),
        sa.Column("settled_at", sa.Double()),
        sa.ForeignKeyConstraint(
            ["replica_id"], ["replica.id"], name=op.f("fk_tombstone_replica_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tombstone")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tombstone_digest", "tombstone", ["digest"])
    op.create_index("ix_tombstone_replica_id_name", "tombstone", ["replica_id", "name"])
    op.create_table(
        "trouble",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("account_id", Id),
        sa.Column("device_id", Id),
        sa.Column("mailbox_id", Id),
        sa.Column("message_id", Id),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("temper", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("since_at", sa.Double(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_trouble_account_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_trouble_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=op.f("fk_trouble_mailbox_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["server_message.id"], name=op.f("fk_trouble_message_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trouble")),
        sa.UniqueConstraint(
            "account_id",
            "device_id",
            "mailbox_id",
            "message_id",
            name=op.f("uq_trouble_account_id_device_id_mailbox_id_message_id"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_trouble_message_id", "trouble", ["message_id"])
    op.create_table(
        "uidl",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("account_id", Id, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("message_id", Id),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("deleted_at", sa.Double()),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_uidl_account_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["server_message.id"], name=op.f("fk_uidl_message_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uidl")),
        sa.UniqueConstraint("account_id", "key", name=op.f("uq_uidl_account_id_key")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_uidl_account_id_digest", "uidl", ["account_id", "digest"], unique=False)
    op.create_table(
        "journal",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("account_id", Id, nullable=False),
        sa.Column("mailbox_id", Id, nullable=False),
        sa.Column("replica_message_id", Id),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("header_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("uidnext", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("begun_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_journal_account_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=op.f("fk_journal_mailbox_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["replica_message_id"],
            ["replica_message.id"],
            name=op.f("fk_journal_replica_message_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal")),
        sqlite_autoincrement=True,
    )
