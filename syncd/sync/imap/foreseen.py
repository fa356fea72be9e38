"""Floor 4: how messages were that a device is about to delete, looked at together with what it added.

Theory. What is expunged is looked at before: that takes a round trip. Files that are missing will mostly be deleted,
and the look at them can be made beside another one. It counts as long as the mailbox is selected as it was then, and
once; and since it may be a while ago by the time that counts, STORE leaves out what was changed since
(`UNCHANGEDSINCE`, RFC 7162 §3.1.3), so that it is not expunged unless whoever changed it gave it \\Deleted as well.
"""

from collections.abc import Iterable, Sequence

from syncd.imap.connection import ImapConnection
from syncd.imap.effects.expunges import AT_ONCE
from syncd.imap.types import FetchRow, SelectResult
from syncd.mail.flags import DELETED
from syncd.mail.uidset import EMPTY, UidSet


class Foreseen:
    """Keep the rows of the last such look, for one account."""

    def __init__(self) -> None:
        self._selection: SelectResult | None = None
        self._rows: dict[int, FetchRow] = {}

    def note(self, connection: ImapConnection, rows: Iterable[FetchRow]) -> None:
        """Keep what a look at the mailbox says, as it is selected now."""
        self._selection, self._rows = connection.selection, {row.uid: row for row in rows if _is_telling(row)}

    def take(self, connection: ImapConnection, uids: UidSet) -> Sequence[FetchRow]:
        """Return once how these messages were; nothing unless all of them were looked at since the last SELECT."""
        rows, selection, self._selection = self._rows, self._selection, None
        if selection is None or selection is not connection.selection or len(uids) > AT_ONCE:
            return ()
        return [rows[uid] for uid in uids] if all(uid in rows for uid in uids) else ()


def worth_a_look(uids: Iterable[int]) -> UidSet:
    """Return the UIDs to look at; none of more than are expunged at once."""
    found = UidSet.of(uids)
    return found if len(found) <= AT_ONCE else EMPTY


def _is_telling(row: FetchRow) -> bool:
    """Tell whether a change after this row is noticed; what has \\Deleted already goes, whatever STORE says of it."""
    return row.flags is not None and bool(row.modseq) and DELETED not in row.flags
