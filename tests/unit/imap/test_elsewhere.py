"""What is told of mailboxes is gathered until it is forgotten, and never without end."""

import asyncio

from syncd.imap.answers import elsewhere
from syncd.imap.answers.elsewhere import Elsewhere
from syncd.imap.answers.parse import parse_untagged
from syncd.imap.types import StatusRow


def _told(*lines: bytes) -> Elsewhere:
    told = Elsewhere()
    for line in lines:
        assert told.take(parse_untagged((line,)))
    return told


def test_of_several_counts_of_a_mailbox_the_last_counts() -> None:
    """What it leaves out is not known: a mod-sequence from before would say that nothing has changed since."""
    told = _told(
        b"STATUS Work (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 9 HIGHESTMODSEQ 2)",
        b"STATUS Work (UIDVALIDITY 9 UNSEEN 1)",
        b"STATUS Lists (MESSAGES 4 UIDNEXT 5)",
    )

    assert told
    assert told.counts == {
        b"Work": StatusRow(b"Work", uidvalidity=9),
        b"Lists": StatusRow(b"Lists", messages=4, uidnext=5),
    }
    told.forget()
    assert not told
    assert not told.counts


def test_mailboxes_that_come_and_go_are_told_apart() -> None:
    told = _told(b'LIST () "/" New ("OLDNAME" (Old))', b'LIST (\\NonExistent) "/" Gone')

    assert told.names == {b"New": True, b"Gone": False}


def test_server_that_could_not_tell_all_is_not_taken_at_its_word() -> None:
    """Dovecot says so in words, behind an untagged NO."""
    assert _told(b"NO NOTIFY error, some events may have got lost").is_partial


def test_what_is_not_about_a_mailbox_is_left_to_others() -> None:
    told = Elsewhere()

    assert not told.take(parse_untagged((b"7 EXISTS",)))
    assert not told.take(parse_untagged((b"OK Still here",)))
    assert not told


async def test_who_waits_hears_of_each_of_it_once() -> None:
    told = Elsewhere()
    waiting = asyncio.create_task(told.heard())
    await asyncio.sleep(0)
    assert not waiting.done()

    told.take(StatusRow(b"Work", messages=1))
    await waiting

    again = asyncio.create_task(told.heard())
    await asyncio.sleep(0)
    assert not again.done()
    told.take(StatusRow(b"Work", messages=2))
    await again


def test_more_than_is_kept_is_told_as_such() -> None:
    told = Elsewhere()
    for number in range(elsewhere.KEPT_MAX + 2):
        told.take(StatusRow(b"%d" % number, messages=1))

    assert told
    assert told.is_partial
    assert len(told.counts) <= 2
