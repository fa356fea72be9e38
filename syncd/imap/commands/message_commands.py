"""Floor 3: the commands that concern messages of the selected mailbox, given as sets of UIDs."""

from syncd.errors import ProtocolError, Reach
from syncd.imap.answers.codes import joined
from syncd.imap.answers.collectors import Copying, Searching, Storing
from syncd.imap.answers.parse import uid_set
from syncd.imap.answers.refusals import CopyRefusedError, refusal
from syncd.imap.commands.rows import SET_MAX_BYTES
from syncd.imap.commands.session import Session
from syncd.imap.types import Copied, StoreResult
from syncd.imap.wire.arguments import flag_list, string
from syncd.mail.flags import Flags
from syncd.mail.uidset import EMPTY, UidSet


async def search_uids(session: Session, criteria: str) -> UidSet:
    """Return the UIDs that match; see `ImapConnection.search_uids`."""
    collector = Searching()
    returning = [b"RETURN (ALL)"] if "ESEARCH" in session.capabilities else []
    keys = criteria.encode("ascii")
    await session.command("UID SEARCH", *returning, keys, collector=collector, reach=Reach.MAILBOX, is_pipelined=True)
    if collector.uids is None:
        raise ProtocolError("the server gave no search result", reach=Reach.MAILBOX)
    return collector.uids


async def store_flags(
    session: Session, uids: UidSet, *, add: Flags, remove: Flags, unchanged_since: int | None
) -> StoreResult:
    """Add and remove flags; see `ImapConnection.store_flags`."""
    result = StoreResult(())
    for sign, flags in ((b"+FLAGS", add), (b"-FLAGS", remove)):
        if not flags or not uids:
            continue
        done = await _store(session, uids, sign + b" " + flag_list(flags), unchanged_since)
        told = {row.uid: row for row in (*result.rows, *done.rows)}
        result = StoreResult(tuple(told.values()), result.modified | done.modified)
        uids = uids - done.modified
        # NOTE: our own first half raised the MODSEQ that the second half is to be compared with.
        if unchanged_since is not None:
            unchanged_since = max(unchanged_since, *(row.modseq or 0 for row in done.rows), 0)
    return result


async def copy(session: Session, uids: UidSet, target: bytes) -> Copied | None:
    """Copy messages; see `ImapConnection.copy`."""
    return await _copy(session, "copy", uids, target)


async def move(session: Session, uids: UidSet, target: bytes) -> Copied | None:
    """Move messages; see `ImapConnection.move`."""
    if not session.offers("MOVE"):
        raise ValueError("the server does not offer move")
    return await _copy(session, "move", uids, target)


async def expunge_uids(session: Session, uids: UidSet) -> None:
    """Expunge those of `uids` that are deleted; see `ImapConnection.expunge_uids`."""
    if not session.offers("UIDPLUS"):
        raise ValueError("the server does not offer to expunge by uid")
    for piece in uids.pieces(SET_MAX_BYTES):
        await session.command("UID EXPUNGE", str(piece).encode(), reach=Reach.MESSAGE, is_pipelined=True)


async def _copy(session: Session, verb: str, uids: UidSet, target: bytes) -> Copied | None:
    told: list[Copied] = []
    for piece in uids.pieces(SET_MAX_BYTES):
        collector = Copying(piece)
        name = f"UID {verb.upper()}"
        end = await session.attempt(name, str(piece).encode(), string(target), collector=collector)
        copied = collector.copied(end)
        if copied is not None:
            told.append(copied)
        if end.kind != "OK":
            refused = refusal(verb, end)
            raise CopyRefusedError(str(refused), code=refused.code, copied=joined(told))
    return joined(told)


async def _store(session: Session, uids: UidSet, change: bytes, unchanged_since: int | None) -> StoreResult:
    condition = b"" if unchanged_since is None else f"(UNCHANGEDSINCE {unchanged_since}) ".encode()
    modified = EMPTY
    stored: list[Storing] = []
    for piece in uids.pieces(SET_MAX_BYTES):
        collector = Storing(piece)
        stored.append(collector)
        end = await session.attempt(
            "UID STORE", str(piece).encode(), condition + change, collector=collector, is_pipelined=True
        )
        if end.text.code == "MODIFIED":
            modified |= _modified(end.text.arguments)
        elif end.kind != "OK":
            raise refusal("store", end, reach=Reach.MESSAGE)
    changed = {uid: row for collector in stored for uid, row in collector.rows.items()}
    return StoreResult(tuple(changed.values()), modified)


def _modified(arguments: bytes) -> UidSet:
    try:
        return uid_set(arguments)
    except ValueError as error:
        raise ProtocolError("malformed MODIFIED code") from error
