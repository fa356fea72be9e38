"""Floor 3: flag changes of many messages as few STOREs, with an outcome for each message."""

import asyncio
from collections.abc import Iterable
from enum import StrEnum

from syncd.errors import RefusedError
from syncd.imap.connection import ImapConnection
from syncd.imap.types import FetchRow
from syncd.mail.flags import Flags
from syncd.mail.uidset import UidSet
from syncd.values import Value


class FlagChange(Value):
    """Flags to add to and remove from one message, whatever others it has."""

    uid: int
    add: Flags
    remove: Flags


class Stored(StrEnum):
    """What became of one message's change.

    applied: the server shows the flags as wanted. modified: someone changed the message since `unchanged_since`:
    observe it first. refused: the server said NO, or OK and kept the flags as they were. silent: it told nothing of
    this message, which is expunged, or to be observed.
    """

    APPLIED = "applied"
    MODIFIED = "modified"
    REFUSED = "refused"
    SILENT = "silent"


class StoreOutcome(Value):
    """One message after STORE; row is what the server told of it."""

    uid: int
    stored: Stored
    row: FetchRow | None = None
    text: str = ""


async def store_changes(
    connection: ImapConnection, changes: Iterable[FlagChange], *, unchanged_since: int | None = None
) -> tuple[StoreOutcome, ...]:
    """Store changes of the selected mailbox, equal ones in one command, and return an outcome for each.

    unchanged_since: the MODSEQ up to which the mailbox was observed; None where it has none. A connection lost on the
    way leaves outcomes unknown: observe before trying again.
    """
    groups: dict[tuple[Flags, Flags], list[int]] = {}
    for change in changes:
        groups.setdefault((change.add, change.remove), []).append(change.uid)
    # NOTE: no message is in two of them, so that none has to wait for the answer to another.
    stored = await asyncio.gather(
        *(_store(connection, UidSet.of(uids), *change, unchanged_since) for change, uids in groups.items()),
        return_exceptions=True,
    )
    outcomes: list[StoreOutcome] = []
    for one in stored:
        if isinstance(one, BaseException):
            raise one
        outcomes += one
    return tuple(outcomes)


async def _store(
    connection: ImapConnection, uids: UidSet, add: Flags, remove: Flags, unchanged_since: int | None
) -> list[StoreOutcome]:
    outcomes: list[StoreOutcome] = []
    parts = [uids]
    while parts:
        part = parts.pop()
        try:
            result = await connection.store_flags(part, add=add, remove=remove, unchanged_since=unchanged_since)
        except RefusedError as error:
            # NOTE: one message can make a server refuse a whole set, so halve the set until it stands alone.
            if len(part) > 1:
                newer = part.newest(len(part) // 2)
                parts += [newer, part - newer]
            else:
                outcomes.append(StoreOutcome(part.lowest, Stored.REFUSED, text=str(error)))
            continue
        rows = {row.uid: row for row in result.rows}
        for uid in part:
            row = rows.get(uid)
            if uid in result.modified:
                outcomes.append(StoreOutcome(uid, Stored.MODIFIED, row))
            elif row is None or row.flags is None:
                outcomes.append(StoreOutcome(uid, Stored.SILENT, row))
            else:
                has_taken = _folded(add) <= _folded(row.flags) and not _folded(remove) & _folded(row.flags)
                outcomes.append(StoreOutcome(uid, Stored.APPLIED if has_taken else Stored.REFUSED, row))
    return outcomes


def _folded(flags: Flags) -> frozenset[str]:
    return frozenset(flag.lower() for flag in flags)
