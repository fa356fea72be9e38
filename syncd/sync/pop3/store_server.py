"""Floor 4: the store as the server of mailboxes: what devices ask of it is done by the transaction that settles it.

Theory. There is no answer that could be lost, so nothing is begun and nothing is found again: a crash before the
transaction plans anew, after it there is nothing left to do. Between plan and transaction the device may go on, so
what it added counts only if it is still as it was taken in, and what a message is copied from only if it is there.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from sqlalchemy import Connection

from syncd.errors import Reach, RefusedError, SyncdError
from syncd.reconcile.effects import Departure, Move, Store
from syncd.reconcile.moves import Way
from syncd.store.files import uploads
from syncd.store.files.uploads import Upload
from syncd.store.mailboxes.served_mailboxes import NewMessage, copies_of, put_messages, take_out
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.rounds.sides import Brought, Departed, Placement, StoreOutcome

_NO_TRASH = "the account has no Trash mailbox"


class StoreServer:
    """Be both sides of a server, of flags and departures and of arrivals, that the store itself is."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock

    async def store(self, mailbox: MailboxRow, effects: Sequence[Store], *, modseq: int) -> StoreOutcome:
        return StoreOutcome(frozenset(effect.message_id for effect in effects), {})

    async def depart(self, mailbox: MailboxRow, effects: Sequence[Departure]) -> Departed:
        moves = [one for one in effects if isinstance(one, Move)]
        refused: dict[int, SyncdError] = {
            one.message_id: RefusedError(_NO_TRASH, reach=Reach.MESSAGE) for one in moves if one.to_id is None
        }
        targets = {one.message_id: one.to_id for one in moves if one.to_id is not None}
        return Departed(
            gone=frozenset(one.message_id for one in effects if one.message_id not in refused),
            refused=refused,
            record=partial(_copy, targets=targets, now=self._clock()),
        )

    async def bring(self, target: MailboxRow, placements: Sequence[Placement]) -> Brought:
        return Brought(record=partial(_bring, target=target, placements=placements, now=self._clock()))

    async def find(self, target: MailboxRow, uploads: Sequence[Upload], *, late: Collection[int]) -> Brought:
        return Brought()


def _copy(conn: Connection, *, targets: Mapping[int, int], now: float) -> None:
    """Copy messages into other mailboxes, given by message, as long as they are there."""
    copies = copies_of(conn, targets)
    for mailbox_id in set(targets.values()):
        new = [copies[id_] for id_, to_id in targets.items() if to_id == mailbox_id and id_ in copies]
        put_messages(conn, mailbox_id, new, now=now)


def _bring(conn: Connection, *, target: MailboxRow, placements: Sequence[Placement], now: float) -> Mapping[int, int]:
    """Make messages of a mailbox of what was added to it, and return them by upload id."""
    there = uploads.unchanged(conn, [one.upload.id for one in placements])
    copies = copies_of(conn, [one.origin.source.message_id for one in placements if one.origin.source is not None])
    new: dict[int, NewMessage] = {}
    moved: set[int] = set()
    for one in placements:
        upload, source = one.upload, one.origin.source
        if upload.id not in there:
            continue
        if source is None:
            flags = target.holdable.part_of(upload.flags)
            new[upload.id] = NewMessage(upload.body_id, upload.size_bytes, upload.mtime, flags)
        elif source.message_id in copies:
            new[upload.id] = copies[source.message_id]
            moved |= {source.message_id} if one.origin.way is Way.MOVE else set()
    ids = dict(zip(new, put_messages(conn, target.id, list(new.values()), now=now), strict=True))
    take_out(conn, moved, now=now)
    return ids
