"""Rename and Remove on a real Maildir, and batches of which a part fails."""

import os
from collections.abc import Iterable
from pathlib import PurePosixPath

import pytest

from syncd.errors import FileError, Reach
from syncd.mail.flags import NONE
from syncd.maildir.disk.barrier import Touched
from syncd.maildir.disk.files import FileFacts
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.effects.perform import (
    Done,
    Failed,
    Place,
    Remove,
    Rename,
    Stale,
    perform,
)
from syncd.maildir.naming.keywords import EMPTY, KeywordMap
from tests.unit.maildir.builders import DATE, INBOX, SEEN, delivery, done, names_in, one, path_of, run


@pytest.fixture(autouse=True)
def _inbox(root: ReplicaRoot) -> None:
    root.create(INBOX).close()


def test_flags_change_by_delta_on_what_the_device_has(root: ReplicaRoot) -> None:
    """A flag that the device set meanwhile survives ours, and letters of other programs too."""
    first = delivery(flags=SEEN)
    path = path_of(root, one(root, first))
    path.rename(path.with_name(f"{first.name}:2,FSZ"))

    outcome = one(root, Rename(Place(INBOX, first.name, "cur", SEEN), add=frozenset({"\\Answered"}), remove=SEEN))

    assert f"{first.name}:2,FRZ" == path_of(root, outcome).name
    assert FileFacts(first.size_bytes, DATE) == done(outcome).facts


def test_flag_on_a_new_message_moves_it_to_cur(root: ReplicaRoot) -> None:
    """Letters live in cur/; taking the last one off leaves the file there."""
    effect = delivery()
    run(root, effect)
    place = Place(INBOX, effect.name, "new", NONE)

    added = path_of(root, one(root, Rename(place, add=SEEN)))
    removed = path_of(root, one(root, Rename(Place(INBOX, effect.name, "cur", SEEN), remove=SEEN)))

    assert f"cur/{effect.name}:2,S" == f"{added.parent.name}/{added.name}"
    assert f"cur/{effect.name}:2," == f"{removed.parent.name}/{removed.name}"


def test_rename_that_changes_nothing_leaves_the_name(root: ReplicaRoot) -> None:
    """Doubled or unsorted letters are not tidied for their own sake, nor is a file moved out of new/."""
    odd = root.path / INBOX / "cur" / "odd:2,TSS"
    odd.write_bytes(b"x")
    fresh = root.path / INBOX / "new" / "fresh"
    fresh.write_bytes(b"x")

    run(
        root,
        Rename(Place(INBOX, "odd", "cur", NONE), add=SEEN),
        Rename(Place(INBOX, "fresh", "new", NONE), remove=SEEN),
    )

    assert names_in(root) == {"new": ["fresh"], "cur": ["odd:2,TSS"], "tmp": []}


def test_rename_of_a_file_that_is_gone_is_stale(root: ReplicaRoot) -> None:
    """The device took the message away: observe again."""
    assert Stale() == one(root, Rename(Place(INBOX, "gone", "cur", NONE), add=SEEN))


def test_rename_never_replaces_a_twin(root: ReplicaRoot) -> None:
    """Two files of one unique name are both kept, and the trouble reaches that message alone."""
    cur = root.path / INBOX / "cur"
    (cur / "twin:2,").write_bytes(b"one")
    (cur / "twin:2,S").write_bytes(b"two")

    outcome = one(root, Rename(Place(INBOX, "twin", "cur", NONE), add=SEEN))

    assert isinstance(outcome, Failed)
    assert Reach.MESSAGE is outcome.error.reach
    assert ((cur / "twin:2,").read_bytes(), (cur / "twin:2,S").read_bytes()) == (b"one", b"two")


def test_name_too_long_for_letters_fails_that_message(root: ReplicaRoot) -> None:
    """A 255-byte name has no room for a letter; the others of the batch go on."""
    (root.path / INBOX / "new" / ("x" * 255)).write_bytes(b"")
    other = delivery()

    outcomes = run(root, Rename(Place(INBOX, "x" * 255, "new", NONE), add=SEEN), other)

    assert isinstance(outcomes[0], Failed)
    assert Reach.MESSAGE is outcomes[0].error.reach
    assert isinstance(outcomes[1], Done)


def test_keywords_become_letters(root: ReplicaRoot) -> None:
    """$Forwarded is P and its own letter, another keyword its letter; removing takes both off."""
    keywords = KeywordMap(((0, "$Label1"), (1, "$Forwarded")))
    effect = delivery(flags=frozenset({"$Label1", "$Forwarded"}))
    forwarded = path_of(root, one(root, effect, keywords=keywords)).name
    place = Place(INBOX, effect.name, "cur", effect.flags)

    plain = path_of(root, one(root, Rename(place, remove=frozenset({"$Forwarded"})), keywords=keywords)).name

    assert (f"{effect.name}:2,Pab", f"{effect.name}:2,a") == (forwarded, plain)


def test_remove_takes_the_file_wherever_the_device_put_it(root: ReplicaRoot) -> None:
    """A program that has seen the file has changed nothing, and repeating it is done at once."""
    effect = delivery()
    path = path_of(root, one(root, effect))
    path.rename(path.parent.parent / "cur" / f"{effect.name}:2,")
    remove = Remove(Place(INBOX, effect.name, "new", NONE), FileFacts(effect.size_bytes, DATE))

    assert (Done(None, None), Done(None, None)) == (one(root, remove), one(root, remove))
    assert names_in(root) == {"new": [], "cur": [], "tmp": []}


def test_remove_spares_a_file_with_a_flag_that_nobody_has_heard_of(root: ReplicaRoot) -> None:
    """Whether a flag is stronger than a deletion is for the plan to say."""
    effect = delivery()
    path = path_of(root, one(root, effect))
    path.rename(path.parent.parent / "cur" / f"{effect.name}:2,F")

    assert Stale() == one(root, Remove(Place(INBOX, effect.name, "new", NONE), FileFacts(effect.size_bytes, DATE)))
    assert names_in(root)["cur"] == [f"{effect.name}:2,F"]


def test_remove_spares_an_edited_file(root: ReplicaRoot) -> None:
    """What the device edited in place is the device's message, not the one that was deleted."""
    effect = delivery()
    path = path_of(root, one(root, effect))
    path.write_bytes(b"edited")

    assert Stale() == one(root, Remove(Place(INBOX, effect.name, "new", NONE), FileFacts(effect.size_bytes, DATE)))
    assert path.read_bytes() == b"edited"


def test_remove_spares_a_file_with_flags_that_the_server_must_hear_of(root: ReplicaRoot) -> None:
    """What the server keeps goes only with the flags that are known of it; letters that mean nothing are none."""
    effect = delivery(flags=SEEN)
    path = path_of(root, one(root, effect))
    remove = Remove(Place(INBOX, effect.name, "cur", SEEN), FileFacts(effect.size_bytes, DATE))
    path.rename(path.with_name(f"{effect.name}:2,FS"))

    assert Stale() == one(root, remove)
    assert names_in(root)["cur"] == [f"{effect.name}:2,FS"]

    path.with_name(f"{effect.name}:2,FS").rename(path.with_name(f"{effect.name}:2,SZ"))
    assert Done(None, None) == one(root, remove)
    assert names_in(root)["cur"] == []


def test_effects_on_one_message_follow_each_other(root: ReplicaRoot) -> None:
    """A batch sees its own deliveries and renames, also after it had to list the mailbox."""
    effect = delivery(is_repeated=True)
    believed = Place(INBOX, effect.name, "cur", frozenset({"\\Draft"}))
    remove = Remove(Place(INBOX, effect.name, "cur", SEEN), FileFacts(effect.size_bytes, DATE))

    outcomes = run(root, effect, Rename(believed, add=SEEN), remove)

    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert names_in(root) == {"new": [], "cur": [], "tmp": []}


def test_missing_cur_fails_the_mailbox_and_spares_the_others(root: ReplicaRoot) -> None:
    """A mailbox directory that lost its cur/ concerns that mailbox; nothing in it counts as deleted."""
    other = PurePosixPath(".work.Other")
    root.create(other).close()
    (root.path / other / "cur").rmdir()
    expected = FileFacts(1, DATE)

    gone, kept = run(root, Remove(Place(other, "x", "cur", NONE), expected), delivery())

    assert isinstance(gone, Failed)
    assert Reach.MAILBOX is gone.error.reach
    assert isinstance(kept, Done)


@pytest.mark.parametrize("before", ["none", "whole", "torn"])
def test_failing_barrier_withdraws_the_batch(root: ReplicaRoot, before: str) -> None:
    """What may not be on disk is never counted as durable: it is taken away, so that it is written anew."""
    effect = delivery(is_repeated=True)
    path = path_of(root, one(root, effect)) if before != "none" else None
    if path is not None and before == "torn":
        os.truncate(path, 5)

    def failing(root: ReplicaRoot, touched: Iterable[Touched]) -> None:
        assert [place.filename for place in touched] == [effect.name]
        raise FileError("cannot make a batch durable: EIO (input/output error)")

    with pytest.raises(FileError, match="EIO"):
        perform(root, [effect], keywords=lambda _: EMPTY, barrier=failing)

    assert names_in(root) == {"new": [], "cur": [], "tmp": []}


def test_large_batch_is_one_barrier(root: ReplicaRoot) -> None:
    """A batch above the small size goes through the whole-file-system barrier and arrives whole."""
    effects = [delivery() for _ in range(40)]

    outcomes = run(root, *effects)

    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert sorted(effect.name for effect in effects) == names_in(root)["new"]
