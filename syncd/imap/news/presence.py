"""Floor 3: which of some messages the selected mailbox has still, so that the others are proven to be gone."""

import asyncio

from syncd.errors import ProtocolError, Reach, RefusedError
from syncd.imap.commands.rows import SET_MAX_BYTES
from syncd.imap.connection import ImapConnection
from syncd.mail.uidset import EMPTY, UidSet

_ASKED_MAX = 500
"""There are servers that cut what a search lists after a thousand."""


def can_be_selected_anew(connection: ImapConnection) -> bool:
    """Tell whether the selected mailbox can be selected once more without anything being lost that is told of it.

    NOTE: Dovecot answers a FETCH or SEARCH before it shows what it was told to append or has expunged what it was told
    to, where they come at once; before it selects a mailbox it ends all that. So a SELECT between them saves a round
    trip. With QRESYNC the server tells when the mailbox was closed: what comes before that are events (RFC 7162
    §3.2.11).
    """
    selection = connection.selection
    return "QRESYNC" in connection.enabled and selection is not None and selection.highestmodseq is not None


async def still_there(connection: ImapConnection, uids: UidSet) -> UidSet:
    """Return those that are there; ProtocolError when the server lists any that it was not asked for.

    NOTE: an answer may be cut short, so that only one which lists none proves that all of these are gone.
    """
    there = EMPTY
    for window in uids.windows_newest_first(_ASKED_MAX):
        for piece in window.pieces(SET_MAX_BYTES):
            asked = piece
            while asked and (found := await connection.search_uids(f"UID {asked}")):
                if found - asked:
                    raise ProtocolError("the search for some messages lists others", reach=Reach.MAILBOX)
                there, asked = there | found, asked - found
    return there


async def are_gone_behind(connection: ImapConnection, uids: UidSet) -> bool:
    """Tell whether these are proven to be gone by what is under way, in the same round trip; else ask once it is done.

    Where that can be told, the mailbox is selected anew; RefusedError when it is refused. Whoever calls this looks
    whether it is the same one.
    """
    octets = connection.selected
    if not uids or octets is None or not can_be_selected_anew(connection):
        return False
    if len(uids) > _ASKED_MAX or len(str(uids)) > SET_MAX_BYTES:
        return False
    selected, found = await asyncio.gather(
        connection.select(octets, is_pipelined=True, is_anew=True),
        connection.search_uids(f"UID {uids}"),
        return_exceptions=True,
    )
    if isinstance(selected, BaseException):
        raise selected
    if isinstance(found, BaseException) and not isinstance(found, RefusedError):
        raise found
    # NOTE: behind a parameter that was refused nothing was selected, or the mailbox as it was before.
    return not (isinstance(found, RefusedError) or found or selected.is_plain)
