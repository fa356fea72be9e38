"""Which file becomes which message: each once, as many as there are, whatever the order in which they are named."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from syncd.reconcile.shifts import Arriving, Leaving, match

few = st.integers(1, 3)
contents = st.tuples(st.just(1), few, st.integers(1, 2))
files = st.builds(
    lambda replica, number, letter, content: Leaving(replica, number, 100 * replica + number, letter, content),
    few,
    st.integers(1, 20),
    st.sampled_from("pqrstuvw"),
    contents,
)
messages = st.builds(
    lambda replica, number, content: Arriving(replica, number, 1000 * replica + number, content),
    few,
    st.integers(1, 20),
    contents,
)
leaving = st.lists(files, max_size=12, unique_by=lambda one: one.file_id)
arriving = st.lists(messages, max_size=12, unique_by=lambda one: one.message_id)
taken = st.frozensets(st.tuples(few, st.sampled_from("pqrstuvw")), max_size=6)


@given(leaving, arriving, taken)
def test_each_file_becomes_one_message_of_its_content(
    gone: list[Leaving], come: list[Arriving], used: frozenset[tuple[int, str]]
) -> None:
    """No file and no message is named twice, none is another's, and no name is in a mailbox twice."""
    found = match(gone, come, taken=used)

    assert len({file.file_id for file, _ in found}) == len({one.message_id for _, one in found}) == len(found)
    names = [(message.replica_id, file.name) for file, message in found]
    assert len({*names} | used) == len(names) + len(used)
    for file, message in found:
        assert file in gone
        assert message in come
        assert file.content == message.content
        assert file.replica_id != message.replica_id


@given(leaving, arriving, taken, st.randoms(use_true_random=False))
def test_order_changes_nothing(
    gone: list[Leaving], come: list[Arriving], used: frozenset[tuple[int, str]], random: object
) -> None:
    """What is matched is a matter of the facts alone."""
    before = match(gone, come, taken=used)

    random.shuffle(gone)  # type: ignore[attr-defined]
    random.shuffle(come)  # type: ignore[attr-defined]

    assert set(match(gone, come, taken=used)) == set(before)


@given(leaving, arriving)
def test_copies_are_counted(gone: list[Leaving], come: list[Arriving]) -> None:
    """From one mailbox to another as many move as there are of both, equal ones in the order of their UIDs."""
    here = [one._replace(replica_id=1, name=str(one.file_id)) for one in gone]
    there = [one._replace(replica_id=2) for one in come]

    found = match(here, there)

    files, messages = (Counter(one.content for one in ones) for ones in (here, there))
    assert Counter(file.content for file, _ in found) == files & messages
    for content in files & messages:
        uids = [(file.uid, message.uid) for file, message in found if file.content == content]
        assert sorted(uids) == sorted(zip(*map(sorted, zip(*uids, strict=True)), strict=True))


def test_equal_messages_that_change_places_both_move() -> None:
    """Neither stays because it was offered its own mailbox."""
    gone = [Leaving(replica, 1, replica, f"n{replica}", (1, 1, 1)) for replica in (1, 2)]
    come = [Arriving(replica, 2, 10 + replica, (1, 1, 1)) for replica in (1, 2)]

    assert {(file.replica_id, message.replica_id) for file, message in match(gone, come)} == {(1, 2), (2, 1)}
