"""Floor 4: what LIST, STATUS and SELECT tell of a mailbox, against what is known of it."""

from syncd.imap.connection import ImapConnection
from syncd.imap.types import ListEntry, Resync, SelectResult, StatusRow
from syncd.mail.mailbox import from_wire, is_selected
from syncd.reconcile.mailboxes import Listed
from syncd.store.trees.accounts import MailboxRow

_OF_ITS_MAIL = frozenset({"\\marked", "\\unmarked"})
"""What LIST tells of new mail in a mailbox, and nothing of the mailbox."""


def listed_of(entry: ListEntry, patterns: tuple[str, ...]) -> Listed:
    """Return a mailbox of a LIST; patterns: which ones the account has."""
    name = from_wire(entry.octets, entry.delimiter)
    object_id = entry.status.object_id if entry.status is not None else None
    attributes = frozenset(one for one in entry.attributes if one.lower() not in _OF_ITS_MAIL)
    return Listed(entry.octets, name, entry.delimiter, attributes, is_selected(name, patterns), object_id)


async def ask(connection: ImapConnection, resync: Resync | None) -> tuple[ListEntry, ...]:
    """Return what the server lists, with counts, and let it tell in the same round trip how the selected mailbox is.

    resync: of the selected mailbox, so that what changed there is told as well.
    """
    if "CONDSTORE" in connection.capabilities and connection.selected is not None:
        return await connection.list_and_select(connection.selected, qresync=resync)
    return await connection.list_mailboxes(with_status=True)  # without mod-sequences a SELECT tells too little


def is_as_known(mailbox: MailboxRow, selected: SelectResult) -> bool:
    """Tell whether a SELECT says nothing new."""
    known = mailbox.cursor
    return (selected.uidvalidity, selected.uidnext, selected.highestmodseq, selected.exists) == (
        known.uidvalidity,
        known.uidnext,
        known.highestmodseq,
        known.exists_count,
    )


def is_selected_as_known(mailbox: MailboxRow, connection: ImapConnection) -> bool:
    """Tell whether a mailbox is the selected one, and nothing in it is new; without mod-sequences flags may be."""
    selected = connection.selection if connection.selected == mailbox.wire_name else None
    if selected is None or selected.highestmodseq is None or not mailbox.is_listed:
        return False
    return is_as_known(mailbox, selected) and not connection.has_events


def has_arrivals(mailbox: MailboxRow, status: StatusRow | None) -> bool:
    """Tell whether counts say that messages came since the mailbox was read."""
    return status is not None and status.uidnext != mailbox.cursor.uidnext


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
