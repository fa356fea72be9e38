"""Floor 3: whether the store holds anything that comes due by itself, or that somebody may ask to be tried again."""

from sqlalchemy import Connection, and_, exists, or_, select

from syncd.store.due.carried_changes import is_live
from syncd.store.tables.schema import carried_change, hold, journal, mailbox_change, replica_message, trouble
from syncd.store.trees.journal import FOUND, ON_ITS_WAY, CopyState
from syncd.store.trees.replica_tree import is_unsettled


def is_anything_pending(conn: Connection) -> bool:
    """Tell whether anything is set aside, held, wanted, under way, or not as it should be.

    Where nothing is, what there is to do stays the same until somebody writes, whatever the time.
    """
    return bool(conn.execute(_PENDING).scalar_one())


def is_anything_set_aside(conn: Connection) -> bool:
    """Tell whether anything was refused, is held, or is carried to another message (`Topic.SET_ASIDE`)."""
    return bool(conn.execute(_SET_ASIDE).scalar_one())


_SET_ASIDE = select(or_(*(exists(select(table.c.id)) for table in (trouble, hold, carried_change))))
_OF_FILES = (FOUND, *(state.value for state in CopyState))
_PENDING = select(
    or_(
        exists(select(trouble.c.id)),
        exists(select(hold.c.id)),
        exists(select(mailbox_change.c.id)),
        exists(select(carried_change.c.id).where(is_live())),
        exists(select(replica_message.c.id).where(is_unsettled())),
        exists(select(journal.c.id).where(journal.c.kind.in_(ON_ITS_WAY))),
        # NOTE: what is left of these when their file is gone concerns nobody.
        exists(
            select(journal.c.id).where(and_(journal.c.kind.in_(_OF_FILES), journal.c.replica_message_id.is_not(None)))
        ),
    )
)
