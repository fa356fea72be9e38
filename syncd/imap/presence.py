"""Floor 3: which of some messages the selected mailbox has still, so that the others are proven to be gone."""

from syncd.errors import ProtocolError, Reach
from syncd.imap.connection import ImapConnection
from syncd.imap.rows import SET_MAX_BYTES
from syncd.mail.uidset import EMPTY, UidSet

_ASKED_MAX = 500
"""There are servers that cut what a search lists after a thousand."""


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
