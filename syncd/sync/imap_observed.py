"""Floor 4: what an IMAP connection said, as the store records it, and whether that is what it knows."""

from collections.abc import Iterable

from syncd.imap.types import FetchRow, ListEntry, SelectResult, StatusRow
from syncd.mail.mailbox import from_wire, is_selected
from syncd.mail.uidset import UidSet
from syncd.reconcile.mailboxes import Listed
from syncd.store.accounts import MailboxCursor, MailboxRow
from syncd.store.server_tree import ObservedMessage


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


def observed_of(rows: Iterable[FetchRow]) -> tuple[ObservedMessage, ...]:
    """Return the rows that told flags."""
    return tuple(
        ObservedMessage(row.uid, row.flags, row.modseq or 0, row.size_bytes, row.internaldate, row.email_id)
        for row in rows
        if row.flags is not None
    )


def listed_of(entry: ListEntry, patterns: tuple[str, ...]) -> Listed:
    """Return a mailbox as a LIST response describes it; patterns: which ones are synced."""
    name = from_wire(entry.octets, entry.delimiter)
    return Listed(entry.octets, name, entry.delimiter, entry.attributes, is_selected(name, patterns))


def is_as_known(mailbox: MailboxRow, selected: SelectResult) -> bool:
    """Tell whether SELECT said what the cursor says."""
    known = mailbox.cursor
    return (selected.uidvalidity, selected.uidnext, selected.highestmodseq, selected.exists) == (
        known.uidvalidity,
        known.uidnext,
        known.highestmodseq,
        known.exists_count,
    )


def is_unchanged(mailbox: MailboxRow, status: StatusRow | None) -> bool:
    """Tell whether counts alone prove that nothing changed; without mod-sequences flags may have."""
    cursor = mailbox.cursor
    if status is None or not mailbox.is_listed or status.highestmodseq is None or cursor.highestmodseq is None:
        return False
    return (status.uidvalidity, status.uidnext, status.highestmodseq, status.messages) == (
        cursor.uidvalidity,
        cursor.uidnext,
        cursor.highestmodseq,
        cursor.exists_count,
    )
