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
    conn: Connection,
    *,
    mailbox: MailboxRow,
    selections: Sequence[Selection],
    limit: int,
    under_way: frozenset[int],
    now: float,
) -> tuple[Sequence[WantedBody], bool]:
    """Return the bodies to bring next of a mailbox, and whether it is to be looked for any of them in the store.

    under_way: messages whose bodies were fetched, but not committed, before this was asked.
    """
    found = backlog.wanted_bodies(
        conn,
        mailbox_id=mailbox.id,
        uidvalidity=mailbox.cursor.uidvalidity,
        selections=selections,
        limit=limit + len(under_way),
        now=now,
    )
    wanted = _slice([one for one in found if one.message_id not in under_way][:limit])
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
