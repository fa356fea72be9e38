"""What is told of mailboxes that are not selected is gathered once it was asked for, and never without end."""

import asyncio

from syncd.imap import elsewhere
from syncd.imap.collectors import Counting, Listing
from syncd.imap.elsewhere import Elsewhere, News
from syncd.imap.parse import parse_untagged
from syncd.imap.types import StatusRow

_NOTHING = News({}, {}, is_partial=False)


def _hearing(*lines: bytes) -> Elsewhere:
    heard = Elsewhere()
    heard.is_told = True
    for line in lines:
        heard.add(parse_untagged((line,)))
    return heard


def test_of_several_counts_of_a_mailbox_the_last_count_and_none_is_forgotten() -> None:
    """A server tells of what has changed, and of nothing else (RFC 5465 §5)."""
    heard = _hearing(
        b"STATUS Work (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 9 HIGHESTMODSEQ 2)",
        b"STATUS Work (HIGHESTMODSEQ 3)",
        b"STATUS Lists (MESSAGES 4 UIDNEXT 5)",
    )

    assert heard
    assert heard.take().counts == {
        b"Work": StatusRow(b"Work", messages=1, uidnext=2, uidvalidity=9, highestmodseq=3),
        b"Lists": StatusRow(b"Lists", messages=4, uidnext=5),
    }
    assert not heard
    assert heard.take() == _NOTHING


def test_mailboxes_that_come_and_go_are_told_apart() -> None:
    heard = _hearing(b'LIST () "/" New ("OLDNAME" (Old))', b'LIST (\\NonExistent) "/" Gone', b"7 EXISTS")

    assert heard.take() == News({}, {b"New": True, b"Gone": False}, is_partial=False)


async def test_nothing_is_gathered_that_nobody_asked_for() -> None:
    """Who waits for it would be woken, and would never be again."""
    heard = Elsewhere()
    heard.add(StatusRow(b"Work", messages=1))
    assert not heard

    heard.is_told = True
    waiting = asyncio.create_task(heard.wait())
    heard.add(StatusRow(b"Work", messages=1))
    assert await waiting
    assert heard


def test_more_than_is_kept_is_told_as_such() -> None:
    heard = Elsewhere()
    heard.is_told = True
    for number in range(elsewhere.KEPT_MAX + 2):
        heard.add(StatusRow(b"%d" % number, messages=1))

    news = heard.take()

    assert news.is_partial
    assert len(news.counts) <= 2


def test_count_that_comes_in_between_takes_nothing_away_from_an_answer() -> None:
    """What NOTIFY tells while LIST or STATUS is answered may be less than what they were asked for."""
    listing, counting = Listing(), Counting(b"Work")
    for line in (
        b'LIST () "/" Work',
        b"STATUS Work (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 9 HIGHESTMODSEQ 2)",
        b"STATUS Work (HIGHESTMODSEQ 3)",
    ):
        response = parse_untagged((line,))
        assert listing.take(response)
        counting.take(response)

    whole = StatusRow(b"Work", messages=1, uidnext=2, uidvalidity=9, highestmodseq=3)
    assert [entry.status for entry in listing.entries()] == [whole]
    assert counting.row == whole
