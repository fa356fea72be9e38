"""When what a server tells of other mailboxes is news, and how soon it is looked at."""

from collections.abc import Sequence

from syncd.imap.answers.elsewhere import Elsewhere
from syncd.imap.types import ListEntry, StatusRow, Untagged
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
_CHANGED = StatusRow(b"Work", highestmodseq=8)
_NEW = ListEntry(b"New", "/", frozenset())


def _told(*counts: StatusRow, **names: bool) -> Elsewhere:
    told = Elsewhere()
    for one in counts:
        told.take(one)
    for name, is_there in names.items():
        told.take(ListEntry(name.encode(), "/", frozenset() if is_there else frozenset({"\\NonExistent"})))
    return told


class _Heard:
    """News of an account that knows `_WORK`, at a time that a test says."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.known: Sequence[MailboxRow] = [_WORK]
        self.news = NewsElsewhere(self._mailboxes, now=lambda: self.now_s)

    async def hear(self, response: Untagged) -> bool:
        self.news.told.take(response)
        return await self.news.compare()

    async def _mailboxes(self) -> Sequence[MailboxRow]:
        return self.known


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
    too_much = Elsewhere()
    too_much.is_partial = True
    assert is_news(too_much, [_WORK])


def test_what_happens_in_a_mailbox_that_is_not_synced_is_no_news() -> None:
    unselected = replace(_WORK, is_selected=False)

    assert not is_news(_told(StatusRow(b"Work", messages=300)), [unselected])
    assert is_news(_told(Work=False), [unselected])


def test_of_inbox_nothing_is_news_but_its_name() -> None:
    """IDLE tells of that, and sooner."""
    inbox = replace(_WORK, name=from_wire(b"INBOX", "/"), wire_name=b"INBOX")

    assert not is_news(_told(StatusRow(b"INBOX", messages=300)), [inbox])
    assert is_news(_told(INBOX=False), [inbox])


async def test_what_is_known_by_the_time_it_is_looked_at_is_no_cause_any_more() -> None:
    """A server may tell of what syncd did there before that is recorded."""
    heard = _Heard()
    assert await heard.hear(_CHANGED)
    assert heard.news.is_due

    heard.known = [replace(_WORK, cursor=replace(_CURSOR, highestmodseq=8))]
    assert not await heard.news.compare()
    assert not heard.news.is_due
    assert heard.news.wait_s() is None
    assert not heard.news.told


async def test_account_is_woken_once_for_all_that_it_has_not_looked_at() -> None:
    heard = _Heard()

    assert await heard.hear(_CHANGED)
    assert not await heard.hear(_NEW)
    with heard.news.passing():
        assert not heard.news.is_due
    assert await heard.hear(_NEW)


async def test_news_wait_for_nine_times_as_long_as_a_pass_took() -> None:
    """So that a server with thousands of mailboxes, of which one is busy, does little else but this a tenth of it."""
    heard = _Heard()
    assert heard.news.wait_s() is None
    await heard.hear(_NEW)
    assert heard.news.wait_s() == 0.0

    with heard.news.passing():
        assert heard.news.wait_s() is None
        heard.now_s = 0.5
        await heard.hear(_NEW)

    assert heard.news.wait_s() == 4.5
    heard.now_s = 5.0
    assert heard.news.is_due


async def test_pass_that_fetched_for_long_keeps_nobody_waiting_for_long() -> None:
    heard = _Heard()
    with heard.news.passing():
        heard.now_s = 3600.0
    await heard.hear(_NEW)

    assert heard.news.wait_s() == 10.0
    heard.news.forget()
    assert heard.news.wait_s() is None
