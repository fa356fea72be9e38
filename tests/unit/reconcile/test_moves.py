"""What a file that a device added is: moved, copied, known, new, or not to be told yet."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.mail.tree import ReplicaState
from syncd.reconcile.moves import Candidate, DeviceFile, Origin, OwnFile, Way, origins

LAPTOP, PHONE = 1, 2
INBOX, ARCHIVE = 10, 11
DELETED, MISSING, PRESENT = ReplicaState.DELETED, ReplicaState.MISSING, ReplicaState.PRESENT


def own(file_id: int = 1, *, device: int = LAPTOP, mailbox: int = ARCHIVE, body: int = 5, name: str = "f") -> OwnFile:
    return OwnFile(file_id, device, mailbox, body, name)


def message(id_: int, state: ReplicaState | None, *, mailbox: int = INBOX, body: int = 5, name: str = "f") -> Candidate:
    """Return a message that the laptop has in this state; None: it has no file of it, but had one."""
    return Candidate(id_, mailbox, id_, body, {LAPTOP: DeviceFile(state, name if state else None)})


def unknown(id_: int, *, mailbox: int = INBOX, body: int = 5) -> Candidate:
    return Candidate(id_, mailbox, id_, body)


@pytest.mark.parametrize(
    ("candidates", "way", "source"),
    [
        ([], Way.APPEND, None),
        ([message(1, PRESENT, body=6)], Way.APPEND, None),
        ([message(1, PRESENT)], Way.COPY, 1),
        ([unknown(1)], Way.COPY, 1),
        ([message(1, DELETED)], Way.MOVE, 1),
        ([message(1, PRESENT), message(2, DELETED)], Way.MOVE, 2),
        ([message(1, MISSING)], Way.WAIT, None),
        ([message(1, PRESENT), message(2, MISSING)], Way.WAIT, None),
        ([message(1, DELETED), message(2, MISSING)], Way.MOVE, 1),
        ([unknown(1, mailbox=ARCHIVE)], Way.BIND, 1),
        ([message(1, DELETED, mailbox=ARCHIVE)], Way.BIND, 1),
        ([message(1, MISSING, mailbox=ARCHIVE)], Way.WAIT, None),
        ([message(1, PRESENT, mailbox=ARCHIVE)], Way.COPY, 1),
        ([message(1, DELETED), unknown(2, mailbox=ARCHIVE)], Way.BIND, 2),
        ([message(1, DELETED, name="g"), message(2, DELETED)], Way.MOVE, 2),
    ],
)
def test_one_file(candidates: list[Candidate], way: Way, source: int | None) -> None:
    """The nearest explanation of a file is taken: known here, moved, unknown yet, copied, new."""
    (origin,) = origins([own()], candidates).values()

    assert origin.way is way
    assert (origin.source and origin.source.message_id) == source


def test_source_is_moved_once() -> None:
    """Of two equal files one is what was moved, and the other a copy of nothing that is left."""
    ways = sorted(one.way.value for one in origins([own(1), own(2, name="g")], [message(1, DELETED)]).values())

    assert ways == ["append", "move"]


def test_the_same_file_of_two_devices_is_brought_once() -> None:
    """The second one waits for the message of the first."""
    found = origins([own(1), own(2, device=PHONE)], [])

    assert [found[id_].way for id_ in (1, 2)] == [Way.APPEND, Way.WAIT]


_states = st.sampled_from([None, DELETED, MISSING, PRESENT])
_files = st.lists(
    st.builds(
        own,
        file_id=st.integers(1, 50),
        device=st.sampled_from([LAPTOP, PHONE]),
        mailbox=st.sampled_from([INBOX, ARCHIVE]),
        body=st.integers(1, 2),
        name=st.sampled_from(["f", "g"]),
    ),
    max_size=6,
    unique_by=lambda one: one.file_id,
)
_candidates = st.lists(
    st.builds(
        message,
        id_=st.integers(1, 50),
        state=_states,
        mailbox=st.sampled_from([INBOX, ARCHIVE]),
        body=st.integers(1, 2),
        name=st.sampled_from(["f", "g"]),
    ),
    max_size=6,
    unique_by=lambda one: one.message_id,
)


@given(_files, _candidates, st.randoms(use_true_random=False))
def test_any_files_and_messages(files: list[OwnFile], candidates: list[Candidate], order: random.Random) -> None:
    """The order of either changes nothing; nothing is moved twice, and only what its device deleted."""
    found = origins(files, candidates)
    shuffled, mixed = list(files), list(candidates)
    order.shuffle(shuffled)
    order.shuffle(mixed)

    assert origins(shuffled, mixed) == found
    assert found.keys() == {one.file_id for one in files}
    devices = {one.file_id: one.device_id for one in files}
    moved = [origin.source for origin in found.values() if origin.way is Way.MOVE]
    assert len({one.message_id for one in moved if one}) == len(moved)
    for file_id, origin in found.items():
        _is_honest(devices[file_id], origin)


def _is_honest(device: int, origin: Origin) -> None:
    if origin.way is Way.MOVE:
        assert origin.source is not None
        assert origin.source.state_on(device) is DELETED
    if origin.way is Way.BIND:
        assert origin.source is not None
        assert origin.source.state_on(device) in {DELETED, None}
