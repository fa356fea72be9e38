"""Directories of a device that are known again under another name by the files in them."""

from collections.abc import Mapping

import pytest

from syncd.mail.mailbox import MailboxName
from syncd.reconcile.moved_directories import WentDirectory, has_moved, moved_directories


@pytest.mark.parametrize(
    ("went", "came", "known", "moved"),
    [
        ({"A": "abc"}, {"B": "abc"}, "A", {"A": "B"}),
        ({"A": "abc"}, {"B": "abcx", "C": "a"}, "A", {"A": "B"}),
        ({"A": "abc"}, {"B": "ab"}, "A", {}),
        ({"A": "abcdefghij"}, {"B": "abcdefghi"}, "A", {"A": "B"}),
        ({"A": ""}, {"B": ""}, "A", {}),
        ({"A": "a", "A/x": ""}, {"B": "a", "B/x": ""}, "A A/x", {"A": "B", "A/x": "B/x"}),
        ({"A": "a"}, {"B": "a"}, "A A/x", {}),
        ({"A": "a", "A/x": "x"}, {"B": "a"}, "A A/x", {}),
        ({"A": "a", "A/x": "x"}, {"B": "a", "C": "x"}, "A A/x", {"A/x": "C"}),
        ({"A/x": "x"}, {"A": "x"}, "A/x", {"A/x": "A"}),
        ({"A": "a", "B": "a"}, {"C": "a"}, "A B", {"A": "C"}),
    ],
)
def test_directory_is_known_by_its_files(
    went: Mapping[str, str], came: Mapping[str, str], known: str, moved: Mapping[str, str]
) -> None:
    """Nearly all of them; with what is inside of it, or not at all, for a server renames that as well."""
    gone = [WentDirectory(number, _name(name), frozenset(files)) for number, (name, files) in enumerate(went.items())]

    found = moved_directories(gone, {_name(name): files for name, files in came.items()}, [*map(_name, known.split())])

    assert {str(gone[number].name): str(name) for number, name in found.items()} == moved


@pytest.mark.parametrize(
    ("files", "source", "target", "found"),
    [
        ("abc", "", "abc", (True, True)),
        ("abc", "xy", "cz", (True, True)),
        ("abc", "abc", "", (False, True)),
        ("abc", "a", "xyz", (False, True)),
        ("", "x", "y", (False, True)),
        ("abc", "", "", (False, False)),
        ("abc", "x", "y", (False, False)),
        ("abc", "a", "bc", (True, False)),
        ("abc", "ab", "c", (False, False)),
        ("ab", "a", "b", (False, False)),
    ],
)
def test_files_say_which_of_two_directories_is_the_renamed_one(
    files: str, source: str, target: str, found: tuple[bool, bool]
) -> None:
    """Those of one; where there are some in both, or in none though there should be, that is not certain."""
    assert has_moved(files, source, target) == found


def _name(text: str) -> MailboxName:
    return MailboxName.parse(text)
