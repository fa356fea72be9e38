"""Floor 4: which bodies an account brings next, and whether the store may have any of them already; in one read."""

from collections.abc import Sequence
from typing import Self

from sqlalchemy import Connection

from syncd.reconcile.planner import Selection
from syncd.store.bodies.known_bodies import known_bodies
from syncd.store.bodies.wanted_bodies import WantedBody, wanted_bodies
from syncd.store.files import uploads
from syncd.store.rounds import holds
from syncd.store.trees import accounts
from syncd.store.trees.accounts import MailboxRow
from syncd.values import Value

_SLICE_BODIES = 1000
_SLICE_BYTES = 32 * 1024 * 1024
"""Together as long as devices' changes may have to wait."""


class NextBodies(Value):
    """The bodies to bring next of a mailbox, and whether it is to be looked for any of them in the store.

    Where none is wanted: as of which version of the mailbox, and whether some may be later though it stays the same: a
    body that is under way may fail, and a message that came may turn out to be no upload. later: what was found with
    them, and is more than is brought at once.
    """

    wanted: Sequence[WantedBody]
    may_be_known: bool = False
    later: Sequence[WantedBody] = ()
    version: int = 0
    is_any_left: bool = False

    @classmethod
    def of(cls, found: Sequence[WantedBody], *, may_be_known: bool) -> Self:
        """Return a slice of what was found, and the rest for later."""
        count = _slice(found)
        return cls(found[:count], may_be_known, found[count:])

    def rest(self) -> Self | None:
        """Return the next slice of what was found, None where all of it was brought."""
        return self.of(self.later, may_be_known=self.may_be_known) if self.later else None


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
    found = wanted_bodies(
        conn,
        mailbox_id=mailbox.id,
        uidvalidity=mailbox.cursor.uidvalidity,
        selections=selections,
        limit=limit + len(under_way),
        now=now,
    )
    wanted = [one for one in found if one.message_id not in under_way][:limit]
    if not wanted:
        version = accounts.mailbox_by_id(conn, mailbox_id=mailbox.id).version
        # NOTE: what is under way is asked of the same state of the store as the version, which rises when it is there.
        is_any_left = bool(found) or uploads.is_any_begun(conn, account_id=mailbox.account_id, mailbox_id=mailbox.id)
        return NextBodies(wanted, version=version, is_any_left=is_any_left)
    return NextBodies.of(wanted, may_be_known=may_be_known(conn, mailbox, wanted))


def may_be_known(conn: Connection, mailbox: MailboxRow, wanted: Sequence[WantedBody]) -> bool:
    """Tell whether the store may have any of these bodies already; only then they are worth a look at their headers."""
    if holds.lost_messages(conn, mailbox_id=mailbox.id):
        return True
    return bool(known_bodies(conn, account_id=mailbox.account_id, message_ids=[one.message_id for one in wanted]))


def _slice(wanted: Sequence[WantedBody]) -> int:
    """Return how many of them are brought together."""
    size_bytes = 0
    for count, one in enumerate(wanted[:_SLICE_BODIES]):
        if count and size_bytes + one.size_bytes > _SLICE_BYTES:
            return count
        size_bytes += one.size_bytes
    return min(len(wanted), _SLICE_BODIES)
