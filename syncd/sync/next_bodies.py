"""Floor 4: which bodies an account brings next, and whether the store may have any of them already; in one read."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from syncd.reconcile.planner import Selection
from syncd.store import accounts, backlog, holds, uploads
from syncd.store.accounts import MailboxRow
from syncd.store.backlog import WantedBody
from syncd.store.known_bodies import known_bodies

_SLICE_BYTES = 32 * 1024 * 1024


class NextBodies(NamedTuple):
    """The bodies to bring next of a mailbox, and whether it is to be looked for any of them in the store.

    Where none is wanted: as of which version of the mailbox, and whether some may be later though it stays the same: a
    body that is under way may fail, and a message that came may turn out to be no upload.
    """

    wanted: Sequence[WantedBody]
    may_be_known: bool = False
    version: int = 0
    is_any_left: bool = False


def next_bodies(
    conn: Connection,
    *,
    mailbox: MailboxRow,
    selections: Sequence[Selection],
    limit: int,
    under_way: frozenset[int],
    now: float,
) -> NextBodies:
    """Return which bodies are to be brought next of a mailbox.

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
        version = accounts.mailbox_by_id(conn, mailbox_id=mailbox.id).version
        # NOTE: what is under way is asked of the same state of the store as the version, which rises when it is there.
        is_any_left = bool(found) or uploads.is_any_begun(conn, account_id=mailbox.account_id, mailbox_id=mailbox.id)
        return NextBodies(wanted, version=version, is_any_left=is_any_left)
    return NextBodies(wanted, may_be_known(conn, mailbox, wanted))


def may_be_known(conn: Connection, mailbox: MailboxRow, wanted: Sequence[WantedBody]) -> bool:
    """Tell whether the store may have any of these bodies already; only then they are worth a look at their headers."""
    if holds.lost_messages(conn, mailbox_id=mailbox.id):
        return True
    return bool(known_bodies(conn, account_id=mailbox.account_id, message_ids=[one.message_id for one in wanted]))


def _slice(wanted: Sequence[WantedBody]) -> Sequence[WantedBody]:
    """Return the first of them that together are about 32 MB: as long as devices' changes may have to wait."""
    size_bytes = 0
    for count, one in enumerate(wanted):
        if count and size_bytes + one.size_bytes > _SLICE_BYTES:
            return wanted[:count]
        size_bytes += one.size_bytes
    return wanted
