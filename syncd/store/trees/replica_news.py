"""Floor 3: what accounts are told of replicas: versions, and files of which they are told once more."""

from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, select, update

from syncd.store.engine.queries import PER_VERSION, groups, is_one_of
from syncd.store.tables.schema import base_message, replica, replica_message


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


_RAISE_VERSION = (
    update(replica)
    .where(replica.c.id == bindparam("of_replica"))
    .values(version=replica.c.version + 1)
    .returning(replica.c.version)
)
