"""Floor 4: what a server tells unasked of its mailboxes (NOTIFY), against what is known of them; pure.

Trap: Dovecot 2.3 tells names in UTF-8 here, and in LIST in modified UTF-7.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from syncd.imap.answers.elsewhere import Elsewhere
from syncd.imap.types import StatusRow
from syncd.mail.mailbox import encode_utf7
from syncd.store.trees.accounts import MailboxRow
from syncd.values import Value


class Heard(Value):
    """Say what there is to look at. is_listing: LIST is to be asked; mailboxes: the ids of those with other counts.

    has_names: a mailbox came or went. strangers: names with counts that nobody knows. is_listing is set for both.
    """

    is_listing: bool = False
    has_names: bool = False
    mailboxes: frozenset[int] = frozenset()
    strangers: frozenset[bytes] = frozenset()

    def __bool__(self) -> bool:
        return self.is_listing or bool(self.mailboxes)


NOTHING = Heard()


def heard(told: Elsewhere, known: Iterable[MailboxRow], *, strangers: Collection[bytes] = ()) -> Heard:
    """Return what differs from what is known; strangers: names that LIST has not shown, and so means by another name.

    Of a mailbox that is not synced by choice nothing is new but its name. Nor of INBOX: IDLE tells of that, and sooner.
    """
    rows = {_folded(row.wire_name): row for row in known}
    is_listing, has_names, mailboxes, unknown = told.is_partial, False, set(), set()
    for octets, is_there in told.names.items():
        row = _found(rows, octets)
        has_names |= is_there is not (row is not None and row.is_there)
    for octets, status in told.counts.items():
        row = _found(rows, octets)
        if row is None:
            unknown |= {octets}.difference(strangers)
        elif row.is_selected and not row.is_there:
            is_listing = True  # so far there were only mailboxes inside of it
        elif row.is_synced and row.is_listed and not row.name.is_inbox and _differs(row, status):
            mailboxes.add(row.id)
    is_listing |= has_names or bool(unknown)
    return Heard(is_listing, has_names, frozenset(mailboxes), frozenset(unknown))


def unheard(told_of: Iterable[bytes], known: Iterable[MailboxRow]) -> frozenset[str]:
    """Return the names of those synced mailboxes, apart from INBOX, of which a server does not tell."""
    rows = {_folded(row.wire_name): row for row in known if row.is_synced and not row.name.is_inbox}
    found = {row.id for octets in told_of if (row := _found(rows, octets)) is not None}
    return frozenset(str(row.name) for row in rows.values() if row.id not in found)


def _found(rows: Mapping[bytes, MailboxRow], octets: bytes) -> MailboxRow | None:
    """Return the mailbox that is called so in LIST, or would be if this were UTF-8."""
    row = rows.get(_folded(octets))
    if row is None:
        with suppress(ValueError):
            row = rows.get(encode_utf7(octets.decode()))
    return row


def _folded(octets: bytes) -> bytes:
    return b"INBOX" if octets.upper() == b"INBOX" else octets


def _differs(mailbox: MailboxRow, status: StatusRow) -> bool:
    """Tell whether counts may be others than those that are known; a mod-sequence says it of all of them."""
    cursor = mailbox.cursor
    if status.uidvalidity not in (None, cursor.uidvalidity):
        return True
    if status.highestmodseq is None or cursor.highestmodseq is None:
        return True
    return status.highestmodseq > cursor.highestmodseq  # a lower one is of some time ago
