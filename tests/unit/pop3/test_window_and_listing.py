"""What may be on its way at once, and what a listing names: both pure."""

from syncd.pop3.listing import UIDL_MAX_CHARS, Listed, capabilities_of, count_of, join_listings
from syncd.pop3.window import Window

WANTED = tuple(Listed(number, f"u{number}", 100) for number in range(1, 11))


def test_window_is_bounded_by_count_and_filled_again_when_half_empty() -> None:
    """Commands share packets, and no more than the bound is on its way."""
    window = Window(WANTED, max_commands=4, max_bytes=10_000)

    batches = []
    for _ in WANTED:
        batches.append([listed.number for listed in window.to_send()])
        window.answered()

    assert batches == [[1, 2, 3, 4], [], [5, 6], [], [7, 8], [], [9, 10], [], [], []]
    assert window.is_all_sent


def test_window_is_bounded_by_bytes_but_never_empty() -> None:
    """A message larger than the whole window is asked for alone."""
    wanted = (Listed(1, None, 60), Listed(2, None, 60), Listed(3, None, 500), Listed(4, None, None))
    window = Window(wanted, max_commands=10, max_bytes=130)

    batches = []
    for _ in wanted:
        batches.append([listed.number for listed in window.to_send()])
        window.answered()

    assert batches == [[1, 2], [], [3], [4]]


def test_listing_joins_sizes_and_uidls_by_number() -> None:
    """Text after the numbers, tabs and missing lines are taken as they are."""
    sizes = [b"1 120", b"2\t200 octets", b"4 7"]
    uidls = [b"1 abc", b"2 ABC", b"3 only-here"]

    assert join_listings(sizes, uidls) == (
        Listed(1, "abc", 120),
        Listed(2, "ABC", 200),
        Listed(3, "only-here", None),
        Listed(4, None, 7),
    )


def test_junk_lines_cost_only_their_own_message_something() -> None:
    """A negative size, a number that is none, a UIDL that is too long or has a space: no size, no identity."""
    sizes = [b"1 -5", b"x y", b"", b"0 7", b"99999999999 7", b"2 1099511627776", b"3 5", b"3 6"]
    uidls = [b"1 " + b"u" * (UIDL_MAX_CHARS + 1), b"2 a b", b"3 \xff", b"4 fine", b"junk", b"5"]

    assert join_listings(sizes, uidls) == (
        Listed(2, None, 1099511627776),
        Listed(3, None, None),
        Listed(4, "fine", None),
    )


def test_uidl_given_to_two_messages_is_none_of_either() -> None:
    """Twins of one name cannot be told apart; twins in case can."""
    listing = join_listings([b"1 5", b"2 5", b"3 5", b"4 5"], [b"1 same", b"2 same", b"3 Aa", b"4 aA"])

    assert [listed.uidl for listed in listing] == [None, None, "Aa", "aA"]


def test_message_with_two_uidls_has_none() -> None:
    """A listing that contradicts itself gives no identity."""
    assert join_listings([b"1 5", b"2 5"], [b"1 a", b"1 b", b"2 c"]) == (Listed(1, None, 5), Listed(2, "c", 5))


def test_uidls_that_are_message_numbers_are_no_identity() -> None:
    """A position is another message tomorrow."""
    assert join_listings([b"1 5", b"2 5"], [b"1 1", b"2 2"]) == (Listed(1, None, 5), Listed(2, None, 5))
    assert join_listings([b"1 5", b"2 5"], [b"1 1", b"2 3"]) == (Listed(1, "1", 5), Listed(2, "3", 5))


def test_counts_and_capabilities_are_read_leniently() -> None:
    """STAT is a number and whatever follows; CAPA is the first word of each line."""
    assert [count_of(text) for text in (b"2 320", b"0 0 extra", b"", b"many")] == [2, 0, None, None]
    assert capabilities_of([b"Pipelining", b"SASL PLAIN", b"", b"\xff"]) >= {"PIPELINING", "SASL"}
