"""What a server says of new UIDs is believed only where it cannot mean two things."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.imap.answers.codes import appended, appended_all, copied, joined
from syncd.imap.types import Appended, Copied, RespText
from syncd.mail.uidset import UID_MAX, UidSet

ASKED = UidSet.span(1, 100)


def copyuid(arguments: bytes) -> RespText:
    return RespText("COPYUID", arguments, b"done")


def appenduid(arguments: bytes) -> RespText:
    return RespText("APPENDUID", arguments, b"done")


@pytest.mark.parametrize(
    ("arguments", "pairs"),
    [
        (b"7 1 5", ((1, 5),)),
        (b"7 1:3 5:7", ((1, 5), (2, 6), (3, 7))),
        (b"7 1,4:5 9,2,3", ((1, 9), (4, 2), (5, 3))),
        (b"7 3,1:2 10:12", ((3, 10), (1, 11), (2, 12))),
    ],
)
def test_sets_are_paired_in_their_order(arguments: bytes, pairs: tuple[tuple[int, int], ...]) -> None:
    """The first of one set belongs to the first of the other, in whatever order and form they are written."""
    assert copied(copyuid(arguments), ASKED) == Copied(7, pairs)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"7 1", id="one set"),
        pytest.param(b"7 1 2 3", id="three sets"),
        pytest.param(b"0 1 5", id="uidvalidity of 0"),
        pytest.param(b"x 1 5", id="no uidvalidity"),
        pytest.param(b"7 1:3 5:6", id="unpaired"),
        pytest.param(b"7 1:3 7:5", id="descending"),
        pytest.param(b"7 1:* 5:7", id="open"),
        pytest.param(b"7 1,,2 5:7", id="gap"),
        pytest.param(b"7 1,1 5:6", id="doubled source"),
        pytest.param(b"7 1:2 5,5", id="doubled target"),
        pytest.param(b"7 0 5", id="uid of 0"),
        pytest.param(b"7 4294967296 5", id="beyond a uid"),
        pytest.param(b"7 101 5", id="not asked"),
        pytest.param(b"7 1:4294967295 1:4294967295", id="more than asked"),
        pytest.param(b"7 \xff 5", id="no ascii"),
        pytest.param(b"7 1:2:3 5:7", id="two colons"),
    ],
)
def test_copyuid_that_is_not_certain_says_nothing(arguments: bytes) -> None:
    """A malformed or contradictory code is none: the copies are to be looked for."""
    assert copied(copyuid(arguments), ASKED) is None


@given(st.lists(st.integers(1, UID_MAX), unique=True, min_size=1, max_size=20), st.data())
def test_any_pairing_is_read_back(sources: list[int], data: st.DataObject) -> None:
    """Every pairing of UIDs survives the wire."""
    count = len(sources)
    targets = data.draw(st.lists(st.integers(1, UID_MAX), unique=True, min_size=count, max_size=count))
    arguments = b"9 %b %b" % (b",".join(b"%d" % uid for uid in sources), b",".join(b"%d" % uid for uid in targets))

    found = copied(copyuid(arguments), UidSet.of(sources))

    assert found == Copied(9, tuple(zip(sources, targets, strict=True)))


def test_answers_of_several_parts_are_one_unless_they_contradict() -> None:
    """What is said twice counts once; two targets for one message, or two UIDVALIDITYs, are no answer."""
    first, second = Copied(7, ((1, 5), (2, 6))), Copied(7, ((2, 6), (3, 8)))

    assert joined([first, second]) == Copied(7, ((1, 5), (2, 6), (3, 8)))
    assert joined([first, Copied(7, ((2, 9),))]) is None
    assert joined([first, Copied(7, ((3, 6),))]) is None
    assert joined([first, Copied(8, ((3, 9),))]) is None
    assert joined([]) is None


@pytest.mark.parametrize(
    ("arguments", "uids"),
    [(b"7 5:7", (5, 6, 7)), (b"7 5,8:9", (5, 8, 9)), (b"7 5,6,9", (5, 6, 9))],
)
def test_appended_set_names_each_message(arguments: bytes, uids: tuple[int, ...]) -> None:
    """Messages appended together have ascending UIDs in their order."""
    assert appended_all(appenduid(arguments), 3) == tuple(Appended(7, uid) for uid in uids)


@pytest.mark.parametrize(
    "arguments",
    [
        b"7 5:6",
        b"7 5:8",
        b"7 7:5",
        b"7 9,5,6",
        b"7 5,5,6",
        b"7 5:*",
        b"7 1:4294967295",
        b"0 5:7",
        b"7",
        b"",
        b"7 5:7 x",
    ],
)
def test_appended_set_that_is_not_certain_says_nothing(arguments: bytes) -> None:
    """A set that does not fit the messages names none of them."""
    assert appended_all(appenduid(arguments), 3) is None
    assert appended(appenduid(b"7 5:6")) is None
    assert appended_all(RespText("OTHER", b"7 5:7", b""), 3) is None
