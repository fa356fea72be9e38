"""Floor 3: the tables of the store: three trees with row versions, cursors, bodies, custody, and what is held.

Theory. Each tree row carries a `version`, taken from a counter of its mailbox (server tree) or replica (replica tree)
that is raised in the transaction that changes the row. A cursor is the version up to which the other side has been
planned: what is newer is all that a round reads, so cost follows change. A cursor moves in the transaction that
settles what it covers; a message that cannot be settled is set aside in `trouble`, so it never holds a cursor back.

House rules. A column never changes meaning; ids are never reused; every time is seconds since 1970; flags are the
text of `mail.flags.format_flags`; octets that are names (files, mailboxes on the wire) are Octets. Partial indexes are
in `partial_indexes`: nothing here names a database's own options but SQLite's. Tables that belong to no account and
no device are in `own_tables`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from syncd.store.tables.columns import FileName, Id, Octets, count_column, flags_column, id_column, metadata, ref_column

account = Table(
    "account",
    metadata,
    id_column(),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),  # imap | pop3
    Column("identity", Text, nullable=False),  # digest of host and user: tells when the file means another account
    Column("listed_at", Double),  # first complete LIST
    Column("succeeded_at", Double),  # last complete round
    Column("failed_at", Double),
    Column("error", Text),
    Column("cause", Text),  # errors.Cause of it
    count_column("failures"),  # in a row
    sqlite_autoincrement=True,
)

mailbox = Table(
    "mailbox",
    metadata,
    id_column(),
    ref_column("account_id", "account"),
    Column("name", Text, nullable=False),  # str(MailboxName)
    Column("wire_name", Octets, nullable=False),
    Column("delimiter", Text),
    Column("attributes", Text, nullable=False, server_default=""),
    Column("special_use", Text),
    Column("object_id", Text),  # RFC 8474 MAILBOXID, which a rename does not change; none: the server does not tell
    Column("is_selectable", Boolean, nullable=False),
    Column("is_selected", Boolean, nullable=False),  # by the patterns of the configuration
    Column("came_at", Double),  # LIST had it first, or again; none: so did the first LIST, or nobody noted it
    Column("gone_at", Double),  # LIST no longer has it
    count_column("uidvalidity"),
    count_column("uidnext"),
    Column("highestmodseq", BigInteger),  # none: the server keeps no mod-sequences here
    Column("permanent_flags", Text),
    Column("accepts_keywords", Boolean, nullable=False, server_default=false()),
    count_column("exists_count"),
    Column("is_listed", Boolean, nullable=False, server_default=false()),  # every row is in the tree once
    count_column("version"),
    Column("error", Text),
    UniqueConstraint("account_id", "wire_name"),
    sqlite_autoincrement=True,
)

body = Table(
    "body",
    metadata,
    id_column(),
    Column("digest", LargeBinary(32), nullable=False, unique=True),  # SHA-256 of the octets
    Column("header_digest", LargeBinary(32), nullable=False),
    Column("message_id", Text),
    Column("size_bytes", BigInteger, nullable=False),
    Column("lf_size_bytes", BigInteger, nullable=False),
    Column("is_crlf", Boolean, nullable=False),
    Column("codec", Text, nullable=False),  # plain | zstd: how the chunks, joined, give the octets
    Column("chunks", Integer, nullable=False),
    Column("stored_at", Double, nullable=False),
    Index("ix_body_message_id", "message_id"),
    sqlite_autoincrement=True,
)

body_chunk = Table(
    "body_chunk",
    metadata,
    Column("body_id", Id, ForeignKey("body.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("octets", LargeBinary, nullable=False),  # each at most 1 MiB before its codec
)

server_message = Table(
    "server_message",
    metadata,
    id_column(),
    ref_column("mailbox_id", "mailbox"),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("uid", BigInteger, nullable=False),
    flags_column(),
    count_column("modseq"),
    Column("size_bytes", BigInteger, nullable=False),
    Column("internaldate", BigInteger, nullable=False),
    Column("email_id", Text),
    ref_column("body_id", "body", nullable=True, ondelete="RESTRICT"),
    Column("version", BigInteger, nullable=False),
    Column("came_at", Double),  # its server was first seen to have it; none: nobody knows how long it was there by then
    Column("gone_at", Double),
    UniqueConstraint("mailbox_id", "uidvalidity", "uid"),
    Index("ix_server_message_mailbox_id_version", "mailbox_id", "version"),
    Index("ix_server_message_body_id", "body_id"),
    Index("ix_server_message_internaldate_size_bytes", "internaldate", "size_bytes"),
    sqlite_autoincrement=True,
)

device = Table(
    "device",
    metadata,
    id_column(),
    Column("name", Text, nullable=False, unique=True),
    Column("path", FileName, nullable=False),
    Column("layout", Text, nullable=False),
    count_column("generation"),  # of the last barrier that is settled; the marker holds this or `generation_next`
    count_column("generation_next"),  # of the barrier under way
    Column("state", Text, nullable=False),  # store.devices: new | active | away | foreign | adopting
    Column("settled_at", Double),
    Column("error", Text),
    Column("cause", Text),  # errors.Cause of it; none: the state says it
    sqlite_autoincrement=True,
)

replica = Table(
    "replica",
    metadata,
    id_column(),
    ref_column("device_id", "device"),
    ref_column("mailbox_id", "mailbox"),
    Column("directory", FileName, nullable=False),  # relative to the device's path
    Column("selection", Text, nullable=False),  # canonical text of what the device selects; a change plans anew
    Column("keywords", Text, nullable=False, server_default=""),  # last seen dovecot-keywords, in order
    count_column("version"),
    count_column("server_cursor"),  # mailbox.version up to which the server tree is planned for this replica
    count_column("replica_cursor"),  # replica.version up to which this tree is planned for the server
    Column("listed_at", Double),  # last complete listing; none: what is missing there was not deleted
    Column("moving_to", FileName),  # the directory that it is about to have; none: no rename is under way
    UniqueConstraint("device_id", "mailbox_id"),
    UniqueConstraint("device_id", "directory"),
    Index("ix_replica_mailbox_id", "mailbox_id"),
    sqlite_autoincrement=True,
)

replica_message = Table(
    "replica_message",
    metadata,
    id_column(),
    ref_column("replica_id", "replica"),
    ref_column("message_id", "server_message", nullable=True),
    Column("name", FileName, nullable=False),
    Column("subdir", Text, nullable=False),
    flags_column(),
    Column("info", FileName),  # what follows `:2,` in the file name; none without that mark
    Column("state", Text, nullable=False),  # mail.tree.ReplicaState
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime", BigInteger, nullable=False),
    Column("form", Text, nullable=False),  # mail.tree.BodyForm
    Column("version", BigInteger, nullable=False),
    Column("missing_since", Double),
    UniqueConstraint("replica_id", "name"),
    Index("ix_replica_message_replica_id_version", "replica_id", "version"),
    Index("ix_replica_message_message_id_replica_id", "message_id", "replica_id"),
    sqlite_autoincrement=True,
)

base_message = Table(
    "base_message",
    metadata,
    Column("replica_id", Id, ForeignKey("replica.id", ondelete="CASCADE"), primary_key=True),
    Column("message_id", Id, ForeignKey("server_message.id", ondelete="CASCADE"), primary_key=True),
    flags_column(),
    Index("ix_base_message_message_id", "message_id"),
)

uidl = Table(
    "uidl",
    metadata,
    id_column(),
    ref_column("account_id", "account"),
    Column("key", Text, nullable=False),  # the UIDL; with a space in it: an identity made for a message without one
    Column("size_bytes", BigInteger),  # as LIST said; none: it did not
    Column("digest", LargeBinary(32), nullable=False),  # empty while nothing of it is in the store
    ref_column("message_id", "server_message", nullable=True, ondelete="SET NULL"),
    Column("state", Text, nullable=False),  # pop3.custody.CustodyState
    count_column("tries"),
    Column("error", Text),
    Column("seen_at", Double, nullable=False),
    Column("deleted_at", Double),  # QUIT +OK
    UniqueConstraint("account_id", "key"),
    Index("ix_uidl_account_id_digest", "account_id", "digest"),
    sqlite_autoincrement=True,
)

journal = Table(
    "journal",
    metadata,
    id_column(),
    ref_column("account_id", "account"),
    ref_column("mailbox_id", "mailbox"),
    ref_column("replica_message_id", "replica_message", nullable=True, ondelete="SET NULL"),
    Column("kind", Text, nullable=False),  # store.journal: CopyState, UploadState or FOUND
    Column("digest", LargeBinary(32), nullable=False),
    Column("header_digest", LargeBinary(32), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("uidnext", BigInteger, nullable=False),  # before the command
    count_column("attempts"),
    Column("error", Text),
    Column("begun_at", Double, nullable=False),
    Column("form", Text),  # mail.tree.BodyForm: of a found file, if it is this body
    Column("restored_flags", Text),  # of a message that was deleted, and is put back: as its server had them
    Column("base_flags", Text),  # of the same, if a device is why it is put back: what both had last agreed on
    Column("sent_flags", Text),  # of an added file, when it was begun: what it has by now may be changed since
    Column("told_uid", BigInteger),  # of the same: where it came by the word of its server, as long as it is not seen
    # NOTE: no foreign key, for the row of a message goes with its account only.
    Column("message_id", Id),  # of a deleted message that a person wants back; no device has a file of it
    # NOTE: the kind comes first, so that what is filed costs nothing where others are asked for, of whatever account.
    Index("ix_journal_kind", "kind", "account_id", "begun_at"),
    Index("ix_journal_replica_message_id", "replica_message_id"),
    Index("ix_journal_digest", "digest"),
    sqlite_autoincrement=True,
)

carried_change = Table(
    "carried_change",
    metadata,
    id_column(),
    ref_column("device_id", "device"),
    ref_column("message_id", "server_message"),  # where the server has the message now
    # NOTE: no foreign keys, for what is carried needs neither octets nor the row that it came from.
    Column("origin_id", Id),  # the message of which the device had a file, None where that is not known
    Column("body_id", Id),  # of that file
    flags_column("flags_add"),
    flags_column("flags_remove"),
    Index("ix_carried_change_message_id", "message_id"),
    sqlite_autoincrement=True,
)

tombstone = Table(
    "tombstone",
    metadata,
    id_column(),
    ref_column("replica_id", "replica"),
    Column("name", FileName, nullable=False),
    Column("digest", LargeBinary(32)),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("gone_at", Double, nullable=False),
    Column("settled_at", Double),  # the file is gone from this replica
    Index("ix_tombstone_replica_id_name", "replica_id", "name"),
    Index("ix_tombstone_digest", "digest"),
    sqlite_autoincrement=True,
)

oauth_grant = Table(
    "oauth_grant",
    metadata,
    id_column(),
    ref_column("account_id", "account"),
    Column("sealed", Text, nullable=False),  # oauth.seal
    Column("granted_at", Double, nullable=False),
    Column("renewed_at", Double, nullable=False),
    UniqueConstraint("account_id"),
    sqlite_autoincrement=True,
)

guard_removal = Table(
    "guard_removal",
    metadata,
    id_column(),
    Column("scope", Text, nullable=False),  # store.holds.HoldScope
    Column("scope_id", Id, nullable=False),
    ref_column("mailbox_id", "mailbox"),
    Column("at", Double, nullable=False),
    Column("removed", BigInteger, nullable=False),
    Column("present", BigInteger, nullable=False),  # in that mailbox, before
    Index("ix_guard_removal_scope_scope_id_at", "scope", "scope_id", "at"),
    sqlite_autoincrement=True,
)

hold = Table(
    "hold",
    metadata,
    id_column(),
    Column("scope", Text, nullable=False),  # store.holds.HoldScope
    Column("scope_id", Id, nullable=False),  # the device, or the account
    ref_column("mailbox_id", "mailbox", nullable=True),
    Column("reason", Text, nullable=False),  # reconcile.guard.Reason
    Column("effects", Text, nullable=False),  # JSON of exactly what is held
    Column("state", Text, nullable=False),  # store.holds.HoldState
    Column("held_at", Double, nullable=False),
    Index("ix_hold_scope_scope_id", "scope", "scope_id"),
    sqlite_autoincrement=True,
)

trouble = Table(
    "trouble",
    metadata,
    id_column(),
    ref_column("device_id", "device", nullable=True),
    ref_column("mailbox_id", "mailbox", nullable=True),
    ref_column("message_id", "server_message", nullable=True),
    Column("error", Text, nullable=False),
    Column("temper", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("since_at", Double, nullable=False),
    Column("retry_at", Double, nullable=False),
    Index("ix_trouble_message_id", "message_id"),
    sqlite_autoincrement=True,
)

mailbox_change = Table(
    "mailbox_change",
    metadata,
    id_column(),
    ref_column("account_id", "account"),
    ref_column("device_id", "device"),
    ref_column("mailbox_id", "mailbox", nullable=True),  # none: one that is to be made
    Column("kind", Text, nullable=False),  # store.mailbox_changes.ChangeKind
    Column("name", Text, nullable=False),  # str(MailboxName): what it is to be called, or was
    Column("state", Text, nullable=False),  # store.mailbox_changes.ChangeState
    count_column("attempts"),
    Column("error", Text),
    Column("asked_at", Double, nullable=False),
    Column("tried_at", Double, nullable=False, server_default=text("0")),
    UniqueConstraint("device_id", "account_id", "name", "kind"),
    Index("ix_mailbox_change_account_id", "account_id"),
    Index("ix_mailbox_change_mailbox_id", "mailbox_id"),
    sqlite_autoincrement=True,
)
