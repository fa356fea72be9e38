"""Floor 3: the messages that a file which a device added may be another one of: those with its body, and who has it."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, or_, select

from syncd.mail.tree import ReplicaState
from syncd.reconcile.moves import Candidate, DeviceFile
from syncd.store.engine.queries import is_one_of
from syncd.store.tables.schema import base_message, body, mailbox, replica, replica_message, server_message


def candidates(conn: Connection, *, account_id: int, body_ids: Collection[int]) -> tuple[Candidate, ...]:
    """Return the messages of an account with these bodies, and which device has them in which state."""
    message = server_message.c
    query = (
        select(message.id, message.mailbox_id, message.uid, message.body_id)
        .join(mailbox, mailbox.c.id == message.mailbox_id)
        .where(
            is_one_of(message.body_id, body_ids),
            # NOTE: without the sum SQLite begins with all messages of the account instead of those of the bodies.
            mailbox.c.account_id + 0 == account_id,
            mailbox.c.gone_at.is_(None),
            message.gone_at.is_(None),
            message.uidvalidity == mailbox.c.uidvalidity,
        )
    )
    rows = [tuple(row) for row in conn.execute(query)]
    files: dict[int, dict[int, DeviceFile]] = {id_: {} for id_, *_ in rows}
    of_base = (
        select(base_message.c.message_id, replica.c.device_id)
        .join(replica, replica.c.id == base_message.c.replica_id)
        .where(is_one_of(base_message.c.message_id, files))
    )
    for message_id, device_id in conn.execute(of_base):
        files[message_id][device_id] = DeviceFile(None)
    of_file = (
        select(replica_message.c.message_id, replica.c.device_id, replica_message.c.state, replica_message.c.name)
        .join(replica, replica.c.id == replica_message.c.replica_id)
        .where(is_one_of(replica_message.c.message_id, files))
    )
    for message_id, device_id, state, name in conn.execute(of_file):
        files[message_id][device_id] = DeviceFile(ReplicaState(state), name)
    return tuple(Candidate(id_, mailbox_id, uid, body_id, files[id_]) for id_, mailbox_id, uid, body_id in rows)


def alike_in(conn: Connection, *, mailbox_id: int, uidvalidity: int, body_ids: Collection[int]) -> frozenset[int]:
    """Return those of these bodies of which a mailbox has a message, or one that says to be the same by its header."""
    message, own = server_message.c, body.alias("own")
    query = (
        select(own.c.id)
        .join(body, or_(body.c.id == own.c.id, body.c.message_id == own.c.message_id))
        .join(server_message, message.body_id == body.c.id)
        .where(
            is_one_of(own.c.id, body_ids),
            message.mailbox_id + 0 == mailbox_id,
            message.uidvalidity + 0 == uidvalidity,
            message.gone_at.is_(None),
        )
    )
    return frozenset(conn.execute(query).scalars())


def dates_of(conn: Connection, *, account_id: int, body_ids: Collection[int]) -> Mapping[int, int]:
    """Return with which date an account has, or had, messages with these bodies; of several the newest."""
    message = server_message.c
    query = (
        select(message.body_id, message.internaldate)
        .join(mailbox, mailbox.c.id == message.mailbox_id)
        .where(is_one_of(message.body_id, body_ids), mailbox.c.account_id + 0 == account_id)
        .order_by(message.id)
    )
    return {row.body_id: row.internaldate for row in conn.execute(query)}
