"""How soon what a server tells of other mailboxes is looked at."""

from collections.abc import Sequence

from syncd.imap.types import ListEntry, StatusRow, Untagged
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.imap.heard import NOTHING, Heard
from syncd.sync.imap.news_elsewhere import NewsElsewhere
from tests.unit.sync.mailbox_rows import row as _row

_NEW = ListEntry(b"New", "/", frozenset())
_STRANGE = StatusRow(b"INBOX/Work", messages=1)


class _Heard:
    """News of an account that knows no mailbox so far, at a time that a test says."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.known: Sequence[MailboxRow] = []
        self.news = NewsElsewhere(self._mailboxes, now=lambda: self.now_s)

    async def hear(self, response: Untagged) -> bool:
        """Tell whether it is news that was none before."""
        self.news.told.take(response)
        return bool(await self.news.compare())

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


async def test_what_is_told_again_is_news_once_until_it_was_looked_at() -> None:
    heard = _Heard()

    assert await heard.hear(_NEW)
    assert not await heard.hear(_NEW)
    assert await heard.hear(_STRANGE)
    async with heard.news.passing():
        assert heard.news.due == NOTHING
    assert await heard.hear(_NEW)


async def test_who_looks_at_a_mailbox_forgets_nothing_of_the_others() -> None:
    """They may have been told between the last comparison and the look."""
    heard = _Heard()
    heard.known = [_row("Work", 1), _row("Lists", 2), _row("Old", 3)]
    await heard.hear(StatusRow(b"Work", highestmodseq=8))
    await heard.hear(StatusRow(b"Lists", highestmodseq=8))
    assert heard.news.due.mailboxes == {1: b"Work", 2: b"Lists"}
    heard.news.told.take(StatusRow(b"Old", highestmodseq=8))
    heard.news.told.take(_NEW)

    with heard.news.looking_at({1}):
        assert heard.news.heard.mailboxes == {2: b"Lists"}
        assert heard.news.told.counts.keys() == {b"Lists", b"Old"}
    await heard.news.compare()

    assert heard.news.heard == Heard({2: b"Lists", 3: b"Old"}, names=frozenset({b"New"}))


async def test_list_is_asked_once_for_a_name_that_is_not_on_it() -> None:
    heard = _Heard()
    assert await heard.hear(_STRANGE)
    async with heard.news.passing():
        pass

    assert not await heard.hear(_STRANGE)
    assert not heard.news.told


async def test_name_that_was_on_the_list_is_news_again_once_it_is_not() -> None:
    """The mailbox was made, deleted and made again, and of its name nothing is told the second time."""
    heard = _Heard()
    assert await heard.hear(StatusRow(b"Work", messages=0))
    async with heard.news.passing():
        heard.known = [_row("Work", 1)]
    heard.known = []

    assert await heard.hear(StatusRow(b"Work", messages=0))


async def test_long_looks_take_a_tenth_of_the_time() -> None:
    """So that a server with thousands of mailboxes, of which one is busy, has time for others."""
    heard = _Heard()
    assert heard.news.wait_s() is None
    await heard.hear(_NEW)
    assert heard.news.wait_s() == 0.0

    async with heard.news.passing():
        assert heard.news.wait_s() is None
        heard.now_s = 0.5
        await heard.hear(_NEW)

    assert heard.news.wait_s() == 2.5
    assert heard.news.due == NOTHING
    heard.now_s = 3.0
    assert heard.news.due.is_listing

    looks = 0
    while heard.now_s < 1000.0:
        heard.now_s += heard.news.wait_s() or 0.0
        async with heard.news.passing():
            heard.now_s += 0.5
            await heard.hear(_NEW)
        looks += 1
    assert 195 <= looks <= 205


async def test_news_that_come_now_and_then_are_looked_at_at_once() -> None:
    """However slow the line is: a look takes some round trips, and only many of them count."""
    heard = _Heard()
    for _ in range(20):
        await heard.hear(_NEW)
        assert heard.news.due.is_listing
        async with heard.news.passing():
            heard.now_s += 0.2
        heard.now_s += 2.0

    waits = []
    for _ in range(20):
        await heard.hear(_NEW)
        waits.append(heard.news.wait_s() or 0.0)
        async with heard.news.passing():
            heard.now_s += 0.2
    assert (waits[0], waits[-1]) == (0.0, 10.0)


async def test_look_that_fetched_for_long_keeps_nobody_waiting_for_long() -> None:
    heard = _Heard()
    async with heard.news.passing():
        heard.now_s = 3600.0
    await heard.hear(_NEW)

    assert heard.news.wait_s() == 10.0
    heard.news.forget()
    assert heard.news.wait_s() is None
