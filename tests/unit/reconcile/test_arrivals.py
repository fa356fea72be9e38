"""Which of the messages that came into a mailbox are those that were sent there."""

from syncd.reconcile.arrivals import Arrival, Came, Sent, arrivals


def sent(id_: int = 1, *, header: bytes = b"h", message_id: str | None = "<a>", hint: int | None = None) -> Sent:
    return Sent(id_, 100, header, message_id, 1_700_000_000, 50, hint)


def came(
    uid: int = 50,
    *,
    size: int = 100,
    header: bytes = b"h",
    message_id: str | None = "<a>",
    date: int | None = 1_700_000_000,
) -> Came:
    return Came(uid, size, header, message_id, date)


def test_same_size_and_header_is_the_message() -> None:
    """Wherever the server said that it is, or nowhere."""
    assert arrivals([sent()], [came(49), came(51)]) == {1: Arrival(51, is_rewritten=False)}
    assert arrivals([sent(hint=77)], [came(51)]) == {1: Arrival(51, is_rewritten=False)}


def test_what_was_there_before_is_not_the_message() -> None:
    """An equal message under the UIDNEXT of before was somebody else's."""
    assert arrivals([sent()], [came(49)]) == {}


def test_the_servers_word_decides_between_equal_ones() -> None:
    """And only between them."""
    found = arrivals([sent(1, hint=52), sent(2, hint=51)], [came(51), came(52)])

    assert found == {1: Arrival(52, is_rewritten=False), 2: Arrival(51, is_rewritten=False)}


def test_equal_messages_are_counted() -> None:
    """Of two that were sent, one that came is one of them."""
    assert arrivals([sent(1), sent(2)], [came(51)]) == {1: Arrival(51, is_rewritten=False)}


def test_rewritten_message_is_known_by_its_message_id_and_date() -> None:
    """With other octets and the same Message-ID and date it is the server's version of it."""
    assert arrivals([sent()], [came(51, size=120, header=b"i")]) == {1: Arrival(51, is_rewritten=True)}


def test_other_version_of_a_draft_is_not_the_message() -> None:
    """A program elsewhere may save a version of its own at the same time; the server's word tells otherwise."""
    other = came(51, size=120, header=b"i", date=1_700_000_009)

    assert arrivals([sent()], [other]) == {}
    assert arrivals([sent(hint=51)], [other]) == {1: Arrival(51, is_rewritten=True)}


def test_message_without_a_message_id_is_known_by_the_servers_word_alone() -> None:
    """Any other message could be without one."""
    other = came(51, size=120, header=b"i", message_id=None)

    assert arrivals([sent(message_id=None)], [other]) == {}
    assert arrivals([sent(message_id=None, hint=51)], [other]) == {1: Arrival(51, is_rewritten=True)}
