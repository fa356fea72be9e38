"""What a server tells unasked of its mailboxes, against what is known of them."""

from syncd.imap.answers.elsewhere import Elsewhere
from syncd.imap.types import ListEntry, StatusRow
from syncd.mail.mailbox import encode_utf7, from_wire
from syncd.store.trees.accounts import MailboxCursor, MailboxRow
from syncd.sync.imap.heard import NOTHING, Heard, heard, unheard
from syncd.values import replace

_CURSOR = MailboxCursor(uidvalidity=9, uidnext=5, highestmodseq=7, exists_count=3)


def _row(name: str, id_: int = 1, **more: object) -> MailboxRow:
    wire = encode_utf7(name)
    row = MailboxRow(
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
        cursor=_CURSOR,
        attributes=frozenset(),
        error=None,
    )
    return replace(row, **more)


_WORK = _row("Work")
_AS_KNOWN = StatusRow(b"Work", messages=3, uidnext=5, uidvalidity=9, highestmodseq=7)
_CHANGED = replace(_AS_KNOWN, highestmodseq=8)
_OTHERS = Heard(mailboxes=frozenset({1}))
_LIST = Heard(is_listing=True)
_NAMES = Heard(is_listing=True, has_names=True)


def _told(*counts: StatusRow, **names: bool) -> Elsewhere:
    told = Elsewhere()
    for one in counts:
        told.take(one)
    for name, is_there in names.items():
        told.take(ListEntry(name.encode(), "/", frozenset() if is_there else frozenset({"\\NonExistent"})))
    return told


def test_what_is_known_already_is_no_news() -> None:
    """Nor is what was so some time ago."""
    for status in (_AS_KNOWN, StatusRow(b"Work", highestmodseq=7), replace(_AS_KNOWN, highestmodseq=6, messages=2)):
        assert heard(_told(status), [_WORK]) == NOTHING
    assert heard(_told(Work=True, Gone=False), [_WORK]) == NOTHING


def test_mailbox_with_other_counts_is_to_be_read_and_no_other() -> None:
    assert heard(_told(_CHANGED), [_WORK, _row("Lists", 2)]) == _OTHERS
    assert heard(_told(replace(_AS_KNOWN, uidvalidity=10)), [_WORK]) == _OTHERS


def test_counts_without_a_mod_sequence_say_nothing_of_flags() -> None:
    """Neither where the server tells none, nor where none is known."""
    assert heard(_told(replace(_AS_KNOWN, highestmodseq=None)), [_WORK]) == _OTHERS
    assert heard(_told(_AS_KNOWN), [replace(_WORK, cursor=replace(_CURSOR, highestmodseq=None))]) == _OTHERS


def test_name_that_comes_or_goes_is_a_cause_to_ask_for_all() -> None:
    assert heard(_told(New=True), [_WORK]) == _NAMES
    assert heard(_told(Work=False), [_WORK]) == _NAMES
    assert heard(_told(StatusRow(b"New", messages=0)), [_WORK]) == replace(_LIST, strangers=frozenset({b"New"}))


def test_what_could_not_be_told_is_a_cause_to_ask_for_all() -> None:
    told = Elsewhere()
    told.is_partial = True

    assert heard(told, [_WORK]) == _LIST


def test_name_that_is_not_in_the_list_has_another_one_there() -> None:
    """A second namespace over the same mail, of which both names are told."""
    assert heard(_told(StatusRow(b"INBOX/Work", messages=1)), [_WORK], strangers={b"INBOX/Work"}) == NOTHING


def test_mailbox_that_was_only_a_name_is_one_once_it_has_counts() -> None:
    name_only = replace(_WORK, is_selectable=False)

    assert heard(_told(_CHANGED), [name_only]) == _LIST
    assert heard(_told(Work=True), [name_only]) == _NAMES
    assert heard(_told(Work=False), [name_only]) == NOTHING


def test_what_happens_in_a_mailbox_that_is_not_synced_is_no_news() -> None:
    unselected = replace(_WORK, is_selected=False)

    assert heard(_told(_CHANGED), [unselected]) == NOTHING
    assert heard(_told(Work=False), [unselected]) == _NAMES


def test_of_inbox_nothing_is_news_but_its_name() -> None:
    """IDLE tells of that, and sooner; a server may spell it as it likes."""
    inbox = _row("INBOX")

    for spelled in (b"INBOX", b"Inbox"):
        assert heard(_told(replace(_CHANGED, octets=spelled)), [inbox]) == NOTHING
    assert heard(_told(inbox=True), [inbox]) == NOTHING
    assert heard(_told(INBOX=False), [inbox]) == _NAMES


def test_names_are_known_in_utf_8_and_in_modified_utf_7() -> None:
    name = "B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher & mehr"
    row = _row(name)

    for octets in (name.encode(), row.wire_name):
        assert heard(_told(replace(_CHANGED, octets=octets)), [row]) == _OTHERS
    assert heard(_told(**{name: False}), [row]) == _NAMES
    assert heard(_told(replace(_CHANGED, octets=b"B\xfccher")), [row]).strangers == {b"B\xfccher"}


def test_mailboxes_of_which_nothing_was_told_are_not_heard_of() -> None:
    """But for INBOX, of which IDLE tells, and those that are not synced."""
    name = "B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher"
    known = [_row("INBOX", 1), _row("Public/Team", 2), _row(name, 3), _row("Junk", 4, is_selected=False)]

    assert unheard([name.encode()], known) == {"Public/Team"}
    assert unheard([name.encode(), b"Public/Team"], known) == frozenset()
