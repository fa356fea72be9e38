"""Floor 3: what accounts are told of replicas: versions, and files of which they are told once more."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache

from sqlalchemy import Connection, and_, bindparam, select, update

from syncd.mail.tree import ReplicaState
from syncd.store.queries import PER_VERSION, AtOnce, groups, is_listed, is_one_of
from syncd.store.schema import base_message, body, journal, replica, replica_message, server_message


def raise_replica_version(conn: Connection, replica_id: int) -> int:
    """Return the version for the rows of a replica that this transaction changes."""
    return int(conn.execute(_RAISE_VERSION, {"of_replica": replica_id}).scalar_one())


def tell_again(conn: Connection, replica_id: int, file_ids: Sequence[int]) -> None:
    """Let the account of a replica plan once more what its device did to these files."""
    for group in groups(file_ids, PER_VERSION):
        version = raise_replica_version(conn, replica_id)
        here = is_one_of(replica_message.c.id, group)
        conn.execute(update(replica_message).where(here).values(version=version))


def tell_changed(conn: Connection, replica_id: int, file_ids: Sequence[int]) -> None:
    """Let the account of a replica plan those of these files that say what it does not know yet.

    A delivery that was interrupted, or comes back, has the flags that its device had given the file before.
    """
    if file_ids:
        file, base = replica_message.c, base_message.c
        query = (
            select(file.id)
            .join(base_message, and_(base.replica_id == file.replica_id, base.message_id == file.message_id))
            .where(is_one_of(file.id, file_ids), file.flags != base.flags)
        )
        tell_again(conn, replica_id, list(conn.execute(query).scalars()))


def tell_waiting(conn: Connection, file_ids: Iterable[int]) -> None:
    """Let accounts plan again what waited for these files, which were to be brought; call it before their rows go.

    A message whose file a device removed is not deleted as long as another file of its octets is on its way.
    """
    waiting: defaultdict[int, list[int]] = defaultdict(list)
    for replica_id, file_id in _waiting().rows(conn, file_ids=file_ids):
        waiting[replica_id].append(file_id)
    for replica_id, ids in waiting.items():
        tell_again(conn, replica_id, ids)


@cache
def _waiting() -> AtOnce:
    file, of = replica_message.alias("brought"), replica.alias("of_brought")
    return AtOnce(
        select(replica_message.c.replica_id, replica_message.c.id)
        .distinct()
        .select_from(journal)
        .join(file, file.c.id == journal.c.replica_message_id)
        .join(of, of.c.id == file.c.replica_id)
        .join(body, body.c.digest == journal.c.digest)
        .join(server_message, server_message.c.body_id == body.c.id)
        .join(replica_message, replica_message.c.message_id == server_message.c.id)
        .join(replica, and_(replica.c.id == replica_message.c.replica_id, replica.c.device_id == of.c.device_id))
        .where(is_listed(journal.c.replica_message_id, "file_ids"), replica_message.c.state == ReplicaState.DELETED)
    )


_RAISE_VERSION = (
    update(replica)
    .where(replica.c.id == bindparam("of_replica"))
    .values(version=replica.c.version + 1)
    .returning(replica.c.version)
)
