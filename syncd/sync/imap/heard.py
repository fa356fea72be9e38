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
    """Say what there is to look at. mailboxes: those to read, by id, with the name that they were told under.

    names: of mailboxes that came or went. strangers: names with counts that nobody knows. is_partial: something could
    not be told.
    """

    mailboxes: Mapping[int, bytes] = {}
    names: frozenset[bytes] = frozenset()
    strangers: frozenset[bytes] = frozenset()
    is_partial: bool = False

    @property
    def is_listing(self) -> bool:
        """Tell whether LIST is to be asked."""
        return bool(self.names or self.strangers or self.is_partial)

    def __bool__(self) -> bool:
        return self.is_listing or bool(self.mailboxes)


NOTHING = Heard()


def heard(told: Elsewhere, known: Iterable[MailboxRow], *, strangers: Collection[bytes] = ()) -> Heard:
    """Return what differs from what is known; strangers: names that LIST has not shown, and so means by another name.

    Of a mailbox that is not synced by choice nothing is new but its name. Nor of INBOX: IDLE tells of that, and sooner.
    """
    rows = _by_name(known)
    names = {octets for octets, is_there in told.names.items() if is_there is not _is_there(_found(rows, octets))}
    mailboxes, unknown = {}, set()
    for octets, status in told.counts.items():
        row = _found(rows, octets)
        if row is None:
            unknown |= {octets}.difference(strangers)
        elif row.is_selected and not row.is_there:
            unknown.add(octets)  # so far there were only mailboxes inside of it
        elif row.is_synced and not row.name.is_inbox and _differs(row, status):
            mailboxes[row.id] = octets
    return Heard(mailboxes, frozenset(names), frozenset(unknown), told.is_partial)


def unknown_of(names: Collection[bytes], known: Iterable[MailboxRow]) -> frozenset[bytes]:
    """Return those names by which no mailbox is known."""
    rows = _by_name(known)
    return frozenset(octets for octets in names if _found(rows, octets) is None)


def told_of(names: Iterable[bytes], known: Iterable[MailboxRow]) -> frozenset[int]:
    """Return the ids of the mailboxes that are told of under these names."""
    rows = _by_name(known)
    return frozenset(row.id for octets in names if (row := _found(rows, octets)) is not None)


def lacking(told: Collection[int], known: Iterable[MailboxRow]) -> frozenset[int]:
    """Return the ids of the synced mailboxes that a server does not tell of, apart from INBOX."""
    return frozenset(row.id for row in known if row.is_synced and not row.name.is_inbox).difference(told)


def has_untold(before: Iterable[MailboxRow], after: Iterable[MailboxRow], *, told: Collection[int]) -> bool:
    """Tell whether something happened in mailboxes that a server tells of, by what was known of them before."""
    modseqs = {row.id: row.cursor.highestmodseq for row in before if row.is_listed and row.error is None}
    return any(
        modseqs.get(row.id) not in (None, row.cursor.highestmodseq)
        for row in after
        if row.id in told and not row.name.is_inbox
    )


def _by_name(known: Iterable[MailboxRow]) -> Mapping[bytes, MailboxRow]:
    return {_folded(row.wire_name): row for row in known}


def _found(rows: Mapping[bytes, MailboxRow], octets: bytes) -> MailboxRow | None:
    """Return the mailbox that is called so in LIST, or would be if this were UTF-8."""
    row = rows.get(_folded(octets))
    if row is None:
        with suppress(ValueError):
            row = rows.get(encode_utf7(octets.decode()))
    return row


def _folded(octets: bytes) -> bytes:
    return b"INBOX" if octets.upper() == b"INBOX" else octets


def _is_there(row: MailboxRow | None) -> bool:
    return row is not None and row.is_there


def _differs(mailbox: MailboxRow, status: StatusRow) -> bool:
    """Tell whether counts may be others than those that are known; a mod-sequence says it of all of them."""
    cursor = mailbox.cursor
    if not mailbox.is_listed or status.uidvalidity not in (None, cursor.uidvalidity):
        return True
    if status.highestmodseq is None or cursor.highestmodseq is None:
        return True
    return status.highestmodseq > cursor.highestmodseq  # a lower one is of some time ago
