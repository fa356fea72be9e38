"""What one command gathers from the answers of a server."""

from syncd.imap.answers.collectors import Listing
from syncd.imap.answers.parse import parse_untagged
from syncd.imap.types import ListEntry, StatusRow

_ANSWER = (
    b'LIST (\\HasNoChildren) "/" INBOX',
    b"STATUS INBOX (MESSAGES 1 UIDNEXT 2)",
    b'LIST () "/" Sent',
    b'LIST (\\Sent) "/" Sent',
)


def _listing(*lines: bytes) -> Listing:
    listing = Listing()
    for line in lines:
        assert listing.take(parse_untagged((line,)))
    return listing


def test_mailbox_that_is_listed_twice_counts_once() -> None:
    """With the attributes of both lines, and the counts that came with them."""
    inbox = StatusRow(b"INBOX", messages=1, uidnext=2)
    assert _listing(*_ANSWER).entries() == (
        ListEntry(b"INBOX", "/", frozenset({"\\HasNoChildren"}), inbox),
        ListEntry(b"Sent", "/", frozenset({"\\Sent"})),
    )


def test_answer_that_says_the_very_same_has_the_entries_of_the_one_before() -> None:
    """Nothing of it is put together again; but of another answer everything is."""
    before = _listing(*_ANSWER)
    first = before.entries()

    again = _listing(*_ANSWER)
    assert again.entries(before) is first
    assert _listing(*_ANSWER).entries(again) is first
    lines = [line.replace(b"UIDNEXT 2", b"UIDNEXT 3") for line in _ANSWER]
    assert _listing(*lines).entries(before) == _listing(*lines).entries() != first
