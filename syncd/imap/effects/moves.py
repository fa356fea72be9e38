"""Floor 3: moving and copying messages, whatever the server offers, with an outcome for each message.

Theory. MOVE does it in one, and may be refused half-way: then nothing is tried again, because what was copied already
would be there twice. Without MOVE a message is copied, and expunged here only after the server said OK to that. COPY
takes all of a set or nothing, so a refused set is halved until the culprit stands alone; but not where the server is in
trouble, and may have copied all the same.
"""

from enum import StrEnum

from syncd.errors import RefusedError
from syncd.imap.answers.refusals import OF_MAILBOX, OF_TROUBLE, CopyRefusedError
from syncd.imap.connection import ImapConnection
from syncd.imap.effects.expunges import Expunged, ExpungeOutcome, expunge_messages, listed, portions
from syncd.imap.types import Appended, Copied
from syncd.mail.uidset import EMPTY, UidSet
from syncd.values import Value


class Moved(StrEnum):
    """What became of one message that is to be moved.

    moved: it is there, and no longer here. copied: it is there, and here it still is: expunging it is owed. refused:
    the server said NO; after a MOVE of several it may be half done all the same. silent: the server told nothing of
    this message. Observe it after either of the last two.
    """

    MOVED = "moved"
    COPIED = "copied"
    REFUSED = "refused"
    SILENT = "silent"


class MoveOutcome(Value):
    """One message after its move was asked for.

    target: where it is by the server's word; None when it gave none, and then only the target shows whether it came.
    text, code: of the server's NO; code TRYCREATE: the target is missing and may be made.
    """

    uid: int
    moved: Moved
    target: Appended | None = None
    text: str = ""
    code: str = ""


async def move_messages(connection: ImapConnection, uids: UidSet, target: bytes) -> tuple[MoveOutcome, ...]:
    """Move messages of the selected mailbox to another one and return an outcome for each.

    A connection lost on the way leaves outcomes unknown: observe both mailboxes before trying again.
    """
    outcomes: list[MoveOutcome] = []
    move = _move if connection.offers("MOVE") else _copy_and_expunge
    for portion in portions(uids):
        outcomes += await move(connection, portion, target)
    return tuple(outcomes)


async def copy_messages(connection: ImapConnection, uids: UidSet, target: bytes) -> tuple[MoveOutcome, ...]:
    """Copy messages of the selected mailbox to another one, or to itself, and return an outcome for each.

    A connection lost on the way leaves outcomes unknown: observe the target before trying again.
    """
    outcomes: list[MoveOutcome] = []
    for portion in portions(uids):
        copied, others = await _copied(connection, portion, target)
        outcomes += [MoveOutcome(uid, Moved.COPIED, place) for uid, place in copied.items()]
        outcomes += others
    return tuple(outcomes)


async def _move(connection: ImapConnection, uids: UidSet, target: bytes) -> list[MoveOutcome]:
    # NOTE: OK without a COPYUID says as well that there was nothing to move. Where none is promised, look before.
    there = EMPTY if connection.offers("UIDPLUS") else await _present(connection, uids)
    try:
        copied = await connection.move(uids, target)
    except CopyRefusedError as error:
        places = _places(error.copied)
        return [_moved(uid, places[uid]) if uid in places else _refused(uid, error) for uid in uids]
    places = _places(copied)
    if copied is not None:
        there = UidSet.of(places)
    return [_moved(uid, places.get(uid)) if uid in there else MoveOutcome(uid, Moved.SILENT) for uid in uids]


async def _copy_and_expunge(connection: ImapConnection, uids: UidSet, target: bytes) -> list[MoveOutcome]:
    copied, outcomes = await _copied(connection, uids, target)
    expunged = await expunge_messages(connection, UidSet.of(copied))
    return outcomes + [_after_copy(one, copied.get(one.uid)) for one in expunged]


async def _copied(
    connection: ImapConnection, uids: UidSet, target: bytes
) -> tuple[dict[int, Appended | None], list[MoveOutcome]]:
    """Copy, and return what is there now, where the server says that it is, and an outcome for each of the others."""
    there: dict[int, Appended | None] = {}
    outcomes: list[MoveOutcome] = []
    parts = [uids]
    while parts:
        part = parts.pop()
        try:
            copied = await connection.copy(part, target)
        except CopyRefusedError as error:
            if len(part) > 1 and error.code not in OF_MAILBOX | OF_TROUBLE:
                newer = part.newest(len(part) // 2)
                parts += [newer, part - newer]
            else:
                outcomes += [_refused(uid, error) for uid in part]
            continue
        places = _places(copied)
        # NOTE: what the server does not name among the copies is not expunged, whatever it said OK to.
        there |= dict.fromkeys(part) if copied is None else places
        outcomes += [MoveOutcome(uid, Moved.SILENT) for uid in part if uid not in there]
    return there, outcomes


async def _present(connection: ImapConnection, uids: UidSet) -> UidSet:
    found = await listed(connection, f"UID {uids}")
    return uids if found is None else found


def _after_copy(outcome: ExpungeOutcome, place: Appended | None) -> MoveOutcome:
    if outcome.expunged is Expunged.EXPUNGED:
        return _moved(outcome.uid, place)
    if outcome.expunged is Expunged.SILENT and place is None:
        return MoveOutcome(outcome.uid, Moved.SILENT)
    return MoveOutcome(outcome.uid, Moved.COPIED, place, outcome.text)


def _places(copied: Copied | None) -> dict[int, Appended]:
    if copied is None:
        return {}
    return {uid: Appended(copied.uidvalidity, new_uid) for uid, new_uid in copied.pairs}


def _moved(uid: int, place: Appended | None) -> MoveOutcome:
    return MoveOutcome(uid, Moved.MOVED, place)


def _refused(uid: int, error: RefusedError) -> MoveOutcome:
    return MoveOutcome(uid, Moved.REFUSED, text=str(error), code=error.code)
