"""Floor 3: the store's own tables, of no account, device or mailbox: what it is, what happened, who knows.

House rules as in `schema`. Nothing here has a foreign key to what is there, so that it may outlive what it names.
"""

from sqlalchemy import CheckConstraint, Column, Double, ForeignKey, Integer, Table, Text, text

from syncd.store.tables.columns import Id, count_column, id_column, metadata

store = Table(
    "store",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False),
    Column("store_id", Text, nullable=False),  # random; every replica marker names it
    Column("created_at", Double, nullable=False),
    Column("swept_at", Double, nullable=False, server_default=text("0")),  # when a sweep came to its end last
)

history = Table(
    "history",
    metadata,
    id_column(),
    Column("at", Double, nullable=False),
    # NOTE: the ids below are no foreign keys, for `history` has to cost little and may outlive what it names.
    Column("mailbox_id", Id),
    Column("device_id", Id),  # where it was done; none: on the server
    Column("message_id", Id),
    count_column("messages", 1),  # how many, where they have one row together
    Column("origin", Text, nullable=False),  # server | device | person | syncd
    Column("origin_device_id", Id),  # none of a device: several
    Column("verb", Text, nullable=False),  # of reconcile.effects, or a store.history.Verb
    Column("detail", Text, nullable=False, server_default=""),  # flags that changed, or `to MAILBOX`
    Column("outcome", Text, nullable=False),  # done | held | refused
    Column("reason", Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)

hook = Table(
    "hook",
    metadata,
    Column("name", Text, primary_key=True),  # its key in the configuration
    count_column("history_cursor"),  # up to which row of the history it was told of new mail
)

hook_told = Table(
    "hook_told",
    metadata,
    Column("hook", Text, ForeignKey("hook.name", ondelete="CASCADE"), primary_key=True),
    Column("trouble", Text, primary_key=True),  # that it was told and that is not over: daemon.troubles names them
)
