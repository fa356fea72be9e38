"""Files and messages by content: each has one at most, equal ones are counted, dates decide where they can."""

from hypothesis import given
from hypothesis import strategies as st

from syncd.reconcile.pairing import Candidate, pair_by_content


def file(id_: int, *contents: int, at: int = 0) -> Candidate:
    return Candidate(id_, frozenset(contents), at)


def test_equal_files_are_counted() -> None:
    """Two files of three equal messages leave one message without a file."""
    pairs = pair_by_content([file(1, 7), file(2, 7)], [file(11, 7), file(12, 7), file(13, 7)])

    assert pairs == {1: 11, 2: 12}


def test_third_equal_file_has_no_message() -> None:
    """Two messages have two files, whatever a third one holds."""
    pairs = pair_by_content([file(1, 7), file(2, 7), file(3, 7)], [file(11, 7), file(12, 7)])

    assert pairs == {1: 11, 2: 12}


def test_file_of_the_same_date_comes_first() -> None:
    """Of equal messages a file is the one whose date it has, though another comes before."""
    pairs = pair_by_content([file(1, 7, at=5), file(2, 7, at=9)], [file(11, 7, at=9), file(12, 7, at=1)])

    assert pairs == {1: 12, 2: 11}


def test_file_of_two_readings_is_either_message() -> None:
    """What its line ends stand for, the message decides."""
    assert pair_by_content([file(1, 7, 8)], [file(11, 8)]) == {1: 11}


_ANY = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=12)


@given(_ANY, _ANY)
def test_as_many_as_possible_are_paired_and_none_twice(
    files: list[tuple[int, int]], them: list[tuple[int, int]]
) -> None:
    """For each content the smaller number of both sides is paired."""
    some = [file(n, content, at=at) for n, (content, at) in enumerate(files)]
    others = [file(100 + n, content, at=at) for n, (content, at) in enumerate(them)]

    pairs = pair_by_content(some, others)

    assert len(set(pairs.values())) == len(pairs)
    assert all(files[one][0] == them[other - 100][0] for one, other in pairs.items())
    for content in range(5):
        counts = [sum(each[0] == content for each in side) for side in (files, them)]
        assert sum(files[one][0] == content for one in pairs) == min(counts)
