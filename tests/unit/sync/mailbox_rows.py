"""Rows of mailboxes as the store has them."""

from syncd.mail.mailbox import encode_utf7, from_wire
from syncd.store.trees.accounts import MailboxCursor, MailboxRow
from syncd.values import replace

CURSOR = MailboxCursor(uidvalidity=9, uidnext=5, highestmodseq=7, exists_count=3)


def row(name: str, id_: int = 1, **more: object) -> MailboxRow:
    """Return a mailbox that is synced and was read."""
    wire = encode_utf7(name)
    known = MailboxRow(
        id=id_,
        account_id=1,
        name=from_wire(wire, "/"),
        wire_name=wire,
        delimiter="/",
        special_use=None,
        is_selectable=True,
        is_selected=True,
        is_listed=True,
        version=1,
        cursor=CURSOR,
        attributes=frozenset(),
        error=None,
    )
    return replace(known, **more)
