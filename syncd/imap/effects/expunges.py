"""Floor 3: expunging messages and no others, whatever the server offers, with an outcome for each message.

Theory. UID EXPUNGE (UIDPLUS) touches only the UIDs it is given. A plain EXPUNGE takes every message with \\Deleted, so
it is sent only when a search for them lists exactly ours: one more is somebody else's, one less means that the search
is not to be relied on. Otherwise ours keep \\Deleted and are owed.
"""

import asyncio
from collections.abc import Iterator
from enum import StrEnum

from syncd.errors import ProtocolError, RefusedError
from syncd.imap.connection import ImapConnection
from syncd.imap.effects.perform import FlagChange, Stored, store_changes
from syncd.imap.news.presence import are_gone_behind
from syncd.log import log
from syncd.mail.flags import DELETED, NONE
from syncd.mail.uidset import EMPTY, UidSet
from syncd.values import Value

AT_ONCE = 100
"""Of how many messages one command asks."""
_DELETED = frozenset({DELETED})


class Expunged(StrEnum):
    """What became of one message that is to be expunged.

    expunged: by the server's OK. owed: it has \\Deleted and may still be there: try again, together with all others
    that are owed. refused: the server does not give it \\Deleted. silent: it told nothing of this message, which is
    expunged already, or to be observed.
    """

    EXPUNGED = "expunged"
    OWED = "owed"
    REFUSED = "refused"
    SILENT = "silent"


class ExpungeOutcome(Value):
    """One message after its removal was asked for; text: the server's words, when it refused."""

    uid: int
    expunged: Expunged
    text: str = ""


async def expunge_at_once(
    connection: ImapConnection, uids: UidSet, *, asked: UidSet, unchanged_since: int | None = None
) -> bool:
    """Let messages of the selected mailbox go where UIDPLUS is offered; tell whether all those asked for surely are.

    UID EXPUNGE need not wait for what STORE answers: of these UIDs it takes those with \\Deleted, and all are to go.
    Mostly the proof comes with the answer (`are_gone_behind`). What is left, and why, `expunge_messages` finds out.
    unchanged_since: what has a higher MODSEQ stays, unless somebody else gave it \\Deleted as well.
    """
    is_proven = False
    await connection.settled()
    for portion in portions(uids) if connection.offers("UIDPLUS") else ():
        is_last = portion.highest == uids.highest
        stored, expunged, proven = await asyncio.gather(
            connection.store_flags(portion, add=_DELETED, unchanged_since=unchanged_since),
            connection.expunge_uids(portion),
            are_gone_behind(connection, asked if is_last else EMPTY),
            return_exceptions=True,
        )
        for one in (stored, expunged):
            if isinstance(one, BaseException) and not isinstance(one, RefusedError):
                raise one
        if isinstance(proven, BaseException):
            raise proven
        is_proven = proven
    return is_proven


async def expunge_messages(connection: ImapConnection, uids: UidSet) -> tuple[ExpungeOutcome, ...]:
    """Expunge messages of the selected mailbox and return an outcome for each.

    Without UIDPLUS another client's \\Deleted, set between our last look and EXPUNGE, goes with ours: IMAP has no way
    to exclude that. A connection lost on the way leaves outcomes unknown: observe before trying again.
    """
    outcomes: list[ExpungeOutcome] = []
    marked = EMPTY
    for portion in portions(uids):
        newly, unmarked = await _mark(connection, portion)
        marked |= newly
        outcomes += unmarked
    if connection.offers("UIDPLUS"):
        for portion in portions(marked):
            outcomes += await _expunge(connection, portion)
    elif marked:
        outcomes += await _expunge_if_alone(connection, marked)
    return tuple(outcomes)


def portions(uids: UidSet) -> Iterator[UidSet]:
    """Yield sets that fit one command, ascending, so few that a lost answer leaves little unknown."""
    yield from reversed(tuple(uids.windows_newest_first(AT_ONCE)))


async def listed(connection: ImapConnection, criteria: str) -> UidSet | None:
    """Return what a search lists, None where the server refuses it or says OK and lists nothing, not even none."""
    try:
        return await connection.search_uids(criteria)
    except (RefusedError, ProtocolError):
        if not connection.is_usable:
            raise
        log.info("search_unanswered")
        return None


async def _mark(connection: ImapConnection, uids: UidSet) -> tuple[UidSet, list[ExpungeOutcome]]:
    outcomes = await store_changes(connection, [FlagChange(uid, _DELETED, NONE) for uid in uids])
    marked = UidSet.of(one.uid for one in outcomes if one.stored is Stored.APPLIED)
    # NOTE: Dovecot 2.3 tells nothing of a message that has the flag already, as one that is owed does.
    silent = UidSet.of(one.uid for one in outcomes if one.stored is Stored.SILENT)
    if silent:
        marked |= silent & (await listed(connection, f"UID {silent} DELETED") or EMPTY)
    unmarked = [
        ExpungeOutcome(one.uid, Expunged.REFUSED if one.stored is Stored.REFUSED else Expunged.SILENT, one.text)
        for one in outcomes
        if one.uid not in marked
    ]
    return marked, unmarked


async def _expunge(connection: ImapConnection, marked: UidSet) -> list[ExpungeOutcome]:
    try:
        await connection.expunge_uids(marked)
    except RefusedError as error:
        return _all(marked, Expunged.OWED, str(error))
    return _all(marked, Expunged.EXPUNGED)


async def _expunge_if_alone(connection: ImapConnection, marked: UidSet) -> list[ExpungeOutcome]:
    if await listed(connection, "DELETED") != marked:
        return _all(marked, Expunged.OWED)
    try:
        await connection.expunge_deleted()
    except RefusedError as error:
        return _all(marked, Expunged.OWED, str(error))
    return _all(marked, Expunged.EXPUNGED)


def _all(uids: UidSet, expunged: Expunged, text: str = "") -> list[ExpungeOutcome]:
    return [ExpungeOutcome(uid, expunged, text) for uid in uids]
