"""When what a server tells of other mailboxes is news, and how soon it is looked at."""

from syncd.imap.elsewhere import News
from syncd.imap.types import StatusRow
from syncd.mail.mailbox import from_wire
from syncd.store.trees.accounts import MailboxCursor, MailboxRow
from syncd.sync.imap.listing import is_news
from syncd.sync.imap.news_elsewhere import NewsElsewhere
from syncd.values import replace

_CURSOR = MailboxCursor(uidvalidity=9, uidnext=5, highestmodseq=7, exists_count=3)
_WORK = MailboxRow(
    id=1,
    account_id=1,
    name=from_wire(b"Work", "/"),
    wire_name=b"Work",
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
_AS_KNOWN = StatusRow(b"Work", messages=3, uidnext=5, uidvalidity=9, highestmodseq=7)


def _told(*counts: StatusRow, **names: bool) -> News:
    there = {name.encode(): is_there for name, is_there in names.items()}
    return News({one.octets: one for one in counts}, there, is_partial=False)


def test_what_is_known_already_is_no_news() -> None:
    """A server tells of what we did ourselves, too, and mostly of a part of the counts."""
    for status in (_AS_KNOWN, StatusRow(b"Work", highestmodseq=7), StatusRow(b"Work", messages=3, uidnext=5)):
        assert not is_news(_told(status), [_WORK])
    assert not is_news(_told(Work=True, Gone=False), [_WORK])


def test_any_other_count_is_news_and_so_is_a_name_that_comes_or_goes() -> None:
    for change in ({"messages": 2}, {"uidnext": 6}, {"uidvalidity": 10}, {"highestmodseq": 8}):
        assert is_news(_told(replace(_AS_KNOWN, **change)), [_WORK])
    assert is_news(_told(StatusRow(b"New", messages=0)), [_WORK])
    assert is_news(_told(New=True), [_WORK])
    assert is_news(_told(Work=False), [_WORK])
    assert is_news(News({}, {}, is_partial=True), [_WORK])


def test_what_happens_in_a_mailbox_that_is_not_synced_is_no_news() -> None:
    unselected = replace(_WORK, is_selected=False)

    assert not is_news(_told(StatusRow(b"Work", messages=300)), [unselected])
    assert is_news(_told(Work=False), [unselected])


def test_news_wait_for_nine_times_as_long_as_a_pass_took() -> None:
    """So that a server with thousands of mailboxes, of which one is busy, does little else but this a tenth of it."""
    now = 100.0
    elsewhere = NewsElsewhere(lambda: now)
    assert elsewhere.wait_s() is None
    elsewhere.hear(_told(New=True), [_WORK])
    assert elsewhere.wait_s() == 0.0

    with elsewhere.passing():
        assert elsewhere.wait_s() is None
        now = 100.5
        elsewhere.hear(_told(New=True), [_WORK])

    assert elsewhere.wait_s() == 4.5
    now = 105.0
    assert elsewhere.wait_s() == 0.0


def test_pass_that_fetched_for_long_keeps_nobody_waiting_for_long() -> None:
    now = 0.0
    elsewhere = NewsElsewhere(lambda: now)
    with elsewhere.passing():
        now = 3600.0
    elsewhere.hear(_told(New=True), [_WORK])

    assert elsewhere.wait_s() == 10.0
    elsewhere.begin()
    assert elsewhere.wait_s() is None
