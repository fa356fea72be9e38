"""What a server tells unasked of its mailboxes, against what is known of them."""

from syncd.imap.answers.elsewhere import Elsewhere
from syncd.imap.types import ListEntry, StatusRow
from syncd.sync.imap.heard import NOTHING, Heard, has_untold, heard, lacking, told_of, unknown_of
from syncd.values import replace
from tests.unit.sync.mailbox_rows import CURSOR as _CURSOR
from tests.unit.sync.mailbox_rows import row as _row

_WORK = _row("Work")
_AS_KNOWN = StatusRow(b"Work", messages=3, uidnext=5, uidvalidity=9, highestmodseq=7)
_CHANGED = replace(_AS_KNOWN, highestmodseq=8)
_OTHERS = Heard({1: b"Work"})


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
    assert heard(_told(New=True), [_WORK]) == Heard(names=frozenset({b"New"}))
    assert heard(_told(Work=False), [_WORK]) == Heard(names=frozenset({b"Work"}))
    assert heard(_told(StatusRow(b"New", messages=0)), [_WORK]) == Heard(strangers=frozenset({b"New"}))
    assert Heard(names=frozenset({b"New"})).is_listing
    assert Heard(strangers=frozenset({b"New"})).is_listing
    assert not _OTHERS.is_listing


def test_what_could_not_be_told_is_a_cause_to_ask_for_all() -> None:
    told = Elsewhere()
    told.is_partial = True

    assert heard(told, [_WORK]) == Heard(is_partial=True)
    assert heard(told, [_WORK]).is_listing


def test_name_that_is_not_in_the_list_has_another_one_there() -> None:
    """A second namespace over the same mail, of which both names are told."""
    assert heard(_told(StatusRow(b"INBOX/Work", messages=1)), [_WORK], strangers={b"INBOX/Work"}) == NOTHING


def test_mailbox_that_was_only_a_name_is_one_once_it_has_counts() -> None:
    name_only = replace(_WORK, is_selectable=False)

    assert heard(_told(_CHANGED), [name_only]).is_listing
    assert heard(_told(Work=True), [name_only]).is_listing
    assert heard(_told(Work=False), [name_only]) == NOTHING


def test_what_happens_in_a_mailbox_that_is_not_synced_is_no_news() -> None:
    unselected = replace(_WORK, is_selected=False)

    assert heard(_told(_CHANGED), [unselected]) == NOTHING
    assert heard(_told(Work=False), [unselected]).is_listing


def test_of_inbox_nothing_is_news_but_its_name() -> None:
    """IDLE tells of that, and sooner; a server may spell it as it likes."""
    inbox = _row("INBOX")

    for spelled in (b"INBOX", b"Inbox"):
        assert heard(_told(replace(_CHANGED, octets=spelled)), [inbox]) == NOTHING
    assert heard(_told(inbox=True), [inbox]) == NOTHING
    assert heard(_told(INBOX=False), [inbox]).is_listing


def test_names_are_known_in_utf_8_and_in_modified_utf_7() -> None:
    name = "B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher & mehr"
    row = _row(name)

    for octets in (name.encode(), row.wire_name):
        assert heard(_told(replace(_CHANGED, octets=octets)), [row]) == Heard({1: octets})
    assert heard(_told(**{name: False}), [row]).names == {name.encode()}
    assert heard(_told(replace(_CHANGED, octets=b"B\xfccher")), [row]).strangers == {b"B\xfccher"}


def test_mailbox_that_was_never_listed_is_to_be_read() -> None:
    assert heard(_told(_AS_KNOWN), [replace(_WORK, is_listed=False)]) == _OTHERS


def test_mailboxes_of_which_nothing_is_told_are_lacking() -> None:
    """But for INBOX, of which IDLE tells, and those that are not synced."""
    name = "B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher"
    known = [_row("INBOX", 1), _row("Public/Team", 2), _row(name, 3), _row("Junk", 4, is_selected=False)]

    told = told_of([name.encode(), b"Gone"], known)

    assert told == {3}
    assert lacking(told, known) == {2}
    assert unknown_of([name.encode(), b"Gone"], known) == {b"Gone"}


def test_what_happened_in_a_mailbox_that_is_told_of_was_untold() -> None:
    """Not what happened in another one, or in one that could not be read, or that was new."""
    later = replace(_CURSOR, highestmodseq=8)
    after = [replace(_WORK, cursor=later), _row("INBOX", 2, cursor=later)]

    assert has_untold([_WORK], after, told={1})
    assert not has_untold(after, after, told={1, 2})
    assert not has_untold([_WORK, _row("INBOX", 2)], after, told={2})
    assert not has_untold([replace(_WORK, error="refused")], after, told={1})
    assert not has_untold([], after, told={1})
