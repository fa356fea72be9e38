"""Floor 4: which bodies an account brings next, and whether the store may have any of them already; in one read."""

from collections.abc import Sequence

from sqlalchemy import Connection

from syncd.reconcile.planner import Selection
from syncd.store import backlog, holds
from syncd.store.accounts import MailboxRow
from syncd.store.backlog import WantedBody
from syncd.store.known_bodies import known_bodies

_SLICE_BYTES = 32 * 1024 * 1024


def next_bodies(
    conn: Connection, *, mailbox: MailboxRow, selections: Sequence[Selection], limit: int, now: float
) -> tuple[Sequence[WantedBody], bool]:
    """Return the bodies to bring next of a mailbox, and whether it is to be looked for any of them in the store."""
    uidvalidity = mailbox.cursor.uidvalidity
    found = backlog.wanted_bodies(
        conn, mailbox_id=mailbox.id, uidvalidity=uidvalidity, selections=selections, limit=limit, now=now
    )
    wanted = _slice(found)
    if not wanted:
        return wanted, False
    if holds.lost_messages(conn, mailbox_id=mailbox.id):
        return wanted, True
    ids = [one.message_id for one in wanted]
    return wanted, bool(known_bodies(conn, account_id=mailbox.account_id, message_ids=ids))


def _slice(wanted: Sequence[WantedBody]) -> Sequence[WantedBody]:
    """Return the first of them that together are about 32 MB: as long as devices' changes may have to wait."""
    size_bytes = 0
    for count, one in enumerate(wanted):
        if count and size_bytes + one.size_bytes > _SLICE_BYTES:
            return wanted[:count]
        size_bytes += one.size_bytes
    return wanted
