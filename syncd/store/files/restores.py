"""Floor 3: messages that their server deleted, put back by the files that devices have of them.

Theory. The files become ones that the devices added, taken in already, and so messages of the server once more, by the
ways that there are for it. The journal keeps what both sides had last agreed on, and the flags that the server had:
once the message is there, it is as if it had never gone, and what a device changed is a change still. All devices that
have the message take part, for else each would get it again.
"""

from collections.abc import Collection

from sqlalchemy import Connection, and_, delete, select, update

from syncd.mail.flags import DELETED, parse_flags
from syncd.mail.tree import SYNCED, ReplicaState
from syncd.store.engine.queries import PER_VERSION, groups, is_one_of
from syncd.store.files.added_files import FileAsRead, Restored, TakenIn, added_file, file_columns, take_in
from syncd.store.rounds.holds import HoldScope, holds, take_out
from syncd.store.tables.schema import base_message, replica, replica_message, server_message


def put_back(conn: Connection, mailbox_id: int, message_ids: Collection[int], *, now: float) -> None:
    """Make the files of messages that the server deleted those of their devices; what they have no file of is left."""
    if not message_ids:
        return
    columns, base = replica_message.c, base_message.c
    query = (
        select(server_message.c.body_id, server_message.c.flags, base.flags, columns.form, *file_columns())
        .select_from(replica_message)
        .join(replica, replica.c.id == columns.replica_id)
        .join(server_message, server_message.c.id == columns.message_id)
        .join(base_message, and_(base.replica_id == columns.replica_id, base.message_id == columns.message_id))
        .where(
            is_one_of(columns.message_id, message_ids),
            columns.state.in_(SYNCED),
            server_message.c.body_id.is_not(None),
            server_message.c.gone_at.is_not(None),
        )
        .order_by(columns.id)
    )
    taken: list[TakenIn] = []
    for body_id, flags, base_flags, form, *row in [tuple(row) for row in conn.execute(query)]:
        file = added_file(row)
        own = update(replica_message).where(columns.id == file.file_id)
        conn.execute(own.values(message_id=None, state=ReplicaState.NEW))
        conn.execute(delete(base_message).where(base.replica_id == file.replica_id, base.message_id == file.message_id))
        # NOTE: with the mark of those who expunged it, others would expunge it again.
        restored = Restored(parse_flags(flags) - {DELETED}, parse_flags(base_flags))
        seen = FileAsRead(file.size_bytes, file.mtime, form, file.info)
        taken.append(TakenIn(file, seen, body_id, restored))
    for group in groups(taken, PER_VERSION):
        take_in(conn, group, now=now)
    for one in holds(conn, mailbox_id=mailbox_id, scope=HoldScope.ON_DEVICE):
        take_out(conn, mailbox_id=mailbox_id, message_ids=message_ids, of=(one.scope, one.scope_id))
