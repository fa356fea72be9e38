"""Floor 4: what an IMAP connection said, as the store records it."""

from collections.abc import Iterable

from syncd.imap.news.observe import Cursor
from syncd.imap.types import FetchRow, SelectResult
from syncd.mail.uidset import UidSet
from syncd.store.trees.accounts import MailboxCursor, MailboxRow
from syncd.store.trees.server_tree import ObservedMessage


def cursor_of(selected: SelectResult, uidvalidity: int, uids: UidSet) -> MailboxCursor:
    """Return the cursor of a mailbox of which nothing is known but its UIDs."""
    return MailboxCursor(
        uidvalidity=uidvalidity,
        uidnext=selected.uidnext or (uids.highest + 1 if uids else 1),
        highestmodseq=selected.highestmodseq,
        exists_count=len(uids),
        permanent_flags=selected.permanent_flags,
        accepts_keywords=selected.accepts_keywords,
    )


def known_cursor(mailbox: MailboxRow) -> Cursor:
    """Return how far a mailbox was read, as looks at it take it."""
    known = mailbox.cursor
    return Cursor(known.uidvalidity, known.uidnext, known.highestmodseq, known.exists_count)


def observed_of(rows: Iterable[FetchRow]) -> tuple[ObservedMessage, ...]:
    """Return the rows that told flags."""
    return tuple(
        ObservedMessage(row.uid, row.flags, row.modseq or 0, row.size_bytes, row.internaldate, row.email_id)
        for row in rows
        if row.flags is not None
    )
