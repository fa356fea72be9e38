"""Remembered names: what a listing has beside them, what is open, and when there is nothing to go by."""

import pytest

from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.news.observe import Names, SeenFile
from syncd.store.trees.devices import ReplicaRow
from syncd.sync.device import roll as module
from syncd.sync.device.roll import Roll, Rolls

LETTERS = KeywordMap(((0, "work"),))


def names(new: str = "", cur: str = "") -> Names:
    return Names(frozenset(new.split()), frozenset(cur.split()), (1, 2, 3, 4))


def file(path: str) -> SeenFile:
    return SeenFile.of(*path.split("/"))


def roll_of(there: Names, *not_as_said: str) -> Roll:
    roll = Roll(".work.INBOX", LETTERS, (1, 2, 3, 4), 0.0)
    roll.remember(there, without=map(file, not_as_said))
    return roll


def replica(id_: int, directory: str = ".work.INBOX") -> ReplicaRow:
    return ReplicaRow(id_, 1, 1, directory, "", (), 0, 0, 0, 0)


def differences(roll: Roll, there: Names) -> tuple[set[SeenFile], set[SeenFile]]:
    came, went = roll.differences(there)
    return set(came), set(went)


def test_what_differs_is_told_by_whole_names() -> None:
    """Letters that changed are a name that came and one that went; so is a file that moved from new/ to cur/."""
    roll = roll_of(names(new="a b", cur="c:2,S d:2,S"))

    found = differences(roll, names(new="a", cur="c:2,FS d:2,S b:2, .hidden"))

    assert found == ({file("cur/c:2,FS"), file("cur/b:2,")}, {file("new/b"), file("cur/c:2,S")})


@pytest.mark.parametrize("there", [names(), names(new="a", cur="b:2,S")])
def test_nothing_differs_from_itself(there: Names) -> None:
    """Of an empty directory, too."""
    assert differences(roll_of(there), there) == (set(), set())


def test_open_names_count_as_new() -> None:
    """What was not as its row said, or was changed since, is compared with its row again."""
    there = names(cur="a:2,S b:2,S")
    roll, rolls = roll_of(there, "cur/a:2,S"), Rolls()
    rolls.put(1, roll)
    rolls.open(1, [file("cur/b:2,S")])

    assert differences(roll, there) == ({file("cur/a:2,S"), file("cur/b:2,S")}, set())
    assert differences(roll, names()) == (set(), set())  # by their rows alone
    assert roll.open == {file("cur/a:2,S"), file("cur/b:2,S")}


def test_roll_is_of_one_directory_and_one_meaning_of_letters() -> None:
    """A mailbox that was renamed, or whose letters mean something else by now, is compared with all its rows."""
    rolls, roll = Rolls(), roll_of(names(cur="a:2,a"))
    rolls.put(1, roll)

    assert rolls.get(replica(1), LETTERS) is roll
    assert rolls.get(replica(1, ".work.Renamed"), LETTERS) is None
    assert rolls.get(replica(1), KeywordMap(((0, "other"),))) is None
    assert rolls.get(replica(2), LETTERS) is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rolls that were read last stay; one with more open names than are worth it goes."""
    monkeypatch.setattr(module, "_NAMES_MAX", 5)
    monkeypatch.setattr(module, "_OPEN_MAX", 2)
    rolls = Rolls()
    for id_ in (1, 2, 3):
        rolls.put(id_, roll_of(names(cur="a b")))

    assert [rolls.kept(id_) is not None for id_ in (1, 2, 3)] == [False, True, True]

    rolls.open(2, [file(f"cur/{number}") for number in range(3)])
    assert rolls.kept(2) is None


def test_open_names_are_bounded_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing of which too much is not as its rows say leaves no roll; what is open counts as what is known."""
    monkeypatch.setattr(module, "_NAMES_MAX", 5)
    monkeypatch.setattr(module, "_OPEN_MAX", 3)
    rolls, there = Rolls(), names(cur="a b c d")
    rolls.put(1, roll_of(there))
    rolls.put(1, roll_of(there, "cur/a", "cur/b", "cur/c", "cur/d"))
    assert rolls.kept(1) is None

    rolls.put(2, roll_of(names(cur="a b c"), "cur/a", "cur/b", "cur/c"))
    rolls.put(3, roll_of(names(cur="a b c"), "cur/a", "cur/b", "cur/c"))
    assert [rolls.kept(id_) is not None for id_ in (2, 3)] == [False, True]
