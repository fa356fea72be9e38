"""How soon what a server tells of other mailboxes is looked at."""

from collections.abc import Sequence

from syncd.imap.types import ListEntry, StatusRow, Untagged
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.imap.heard import NOTHING
from syncd.sync.imap.news_elsewhere import NewsElsewhere

_NEW = ListEntry(b"New", "/", frozenset())
_STRANGE = StatusRow(b"INBOX/Work", messages=1)


class _Heard:
    """News of an account that knows no mailbox so far, at a time that a test says."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.known: Sequence[MailboxRow] = []
        self.news = NewsElsewhere(self._mailboxes, now=lambda: self.now_s)

    async def hear(self, response: Untagged) -> bool:
        self.news.told.take(response)
        return await self.news.compare()

    async def _mailboxes(self) -> Sequence[MailboxRow]:
        return self.known


async def test_what_is_known_by_the_time_it_is_looked_at_is_no_cause_any_more() -> None:
    """A server may tell of what syncd did there before that is recorded."""
    heard = _Heard()
    assert await heard.hear(_NEW)
    assert heard.news.due.is_listing

    heard.news.told.take(ListEntry(b"New", "/", frozenset({"\\NonExistent"})))
    assert not await heard.news.compare()
    assert heard.news.due == NOTHING
    assert heard.news.wait_s() is None
    assert not heard.news.told


async def test_account_is_woken_once_for_all_that_it_has_not_looked_at() -> None:
    heard = _Heard()

    assert await heard.hear(_NEW)
    assert not await heard.hear(_STRANGE)
    with heard.news.looking():
        assert heard.news.due == NOTHING
    assert await heard.hear(_NEW)


async def test_list_is_asked_once_for_a_name_that_is_not_on_it() -> None:
    heard = _Heard()
    assert await heard.hear(_STRANGE)
    with heard.news.looking():
        pass

    assert not await heard.hear(_STRANGE)
    assert not heard.news.told


async def test_news_wait_for_nine_times_as_long_as_a_look_took() -> None:
    """So that a server with thousands of mailboxes, of which one is busy, does little else but this a tenth of it."""
    heard = _Heard()
    assert heard.news.wait_s() is None
    await heard.hear(_NEW)
    assert heard.news.wait_s() == 0.0

    with heard.news.looking():
        assert heard.news.wait_s() is None
        heard.now_s = 0.5
        await heard.hear(_NEW)

    assert heard.news.wait_s() == 4.5
    assert heard.news.due == NOTHING
    heard.now_s = 5.0
    assert heard.news.due.is_listing


async def test_look_that_fetched_for_long_keeps_nobody_waiting_for_long() -> None:
    heard = _Heard()
    with heard.news.looking():
        heard.now_s = 3600.0
    await heard.hear(_NEW)

    assert heard.news.wait_s() == 10.0
    heard.news.forget()
    assert heard.news.wait_s() is None
