"""A look at a root is not repeated while no name in it came, went or changed, and always once one did."""

import os
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from syncd.maildir.disk.dovecot import KEYWORDS
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.news import last_look
from syncd.maildir.news.last_look import LastLook, Since

_WITHIN_S = 10.0
_SOON_NS = 10_000_000
_MAILBOXES = (".work.INBOX", ".work.Archive", "work/inner")


@pytest.fixture
def look(root: ReplicaRoot) -> LastLook:
    """Return what remembers a look at three mailboxes, one of them inside another directory, with a file in each."""
    for directory in _MAILBOXES:
        root.create(PurePosixPath(directory)).close()
        (root.path / directory / "cur" / "a:2,").touch()
        (root.path / directory / KEYWORDS).write_text("0 one\n")
    look = LastLook(root.path)
    look.begin_anew()
    _until_known(look, root)
    return look


def _until_known(look: LastLook, root: ReplicaRoot) -> None:
    until = time.monotonic() + _WITHIN_S
    while look.compare(root, _proved) is Since.UNKNOWN:
        assert time.monotonic() < until, "nothing changes, and it is not known"


def _proved(_: ReplicaRoot) -> None:
    """Say that nothing is the matter with the root."""


def _renamed(path: Path) -> None:
    (path / ".work.Archive" / "cur" / "a:2,").rename(path / ".work.Archive" / "cur" / "a:2,S")


def _added(path: Path) -> None:
    (path / "work" / "inner" / "new" / "b").touch()


def _removed(path: Path) -> None:
    (path / ".work.INBOX" / "cur" / "a:2,").unlink()


def _removed_with_times_kept(path: Path) -> None:
    """Do what rsync and tar do: the directory gets the mtime that it had elsewhere."""
    directory = path / ".work.INBOX" / "cur"
    before = directory.stat()
    (directory / "a:2,").unlink()
    os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))


def _made(path: Path) -> None:
    (path / "work" / "inner" / "more").mkdir()


def _moved(path: Path) -> None:
    (path / ".work.Archive").rename(path / ".work.Old")


def _replaced(path: Path) -> None:
    (path / ".work.Archive" / "cur").rename(path / ".work.Archive" / "old")
    (path / ".work.Archive" / "cur").mkdir()


def _listed_keyword(path: Path) -> None:
    with (path / ".work.INBOX" / KEYWORDS).open("r+") as file:
        file.write("0 two\n")


def _locked_up(path: Path) -> None:
    (path / ".work.Archive").chmod(0o500)


@pytest.mark.parametrize(
    "change",
    [_renamed, _added, _removed, _removed_with_times_kept, _made, _moved, _replaced, _listed_keyword, _locked_up],
)
def test_change_is_seen(root: ReplicaRoot, look: LastLook, change: Callable[[Path], None]) -> None:
    """Whatever directory it is in, and whoever made it."""
    change(root.path)

    assert look.compare(root, _proved) is Since.UNKNOWN
    _until_known(look, root)


def test_reading_and_deliveries_under_way_are_no_change(root: ReplicaRoot, look: LastLook) -> None:
    """Mail programs list and read all the time; tmp/ is nobody's mailbox."""
    for directory in _MAILBOXES:
        assert [path.read_bytes() for path in (root.path / directory / "cur").iterdir()] == [b""]
        (root.path / directory / "tmp" / "b").touch()

    assert look.compare(root, _proved) is Since.NOTHING


def test_directory_that_has_just_changed_is_not_believed(root: ReplicaRoot, look: LastLook) -> None:
    """For as long as another change could leave its times as they are, it is looked at each time."""
    until, is_in_time = time.monotonic() + _WITHIN_S, False
    while not is_in_time:
        assert time.monotonic() < until, "the machine is too slow to look at once"
        (root.path / ".work.INBOX" / "cur" / "b:2,").touch()
        (root.path / ".work.INBOX" / "cur" / "b:2,").unlink()
        changed_ns = time.time_ns()
        assert look.compare(root, _proved) is Since.UNKNOWN
        is_in_time = time.time_ns() - changed_ns < _SOON_NS

    assert look.compare(root, _proved) is Since.UNKNOWN


def test_forgotten_look_is_repeated(root: ReplicaRoot, look: LastLook) -> None:
    """Where more is to be seen than names."""
    look.forget()
    assert look.compare(root, _proved) is Since.UNKNOWN


def test_times_of_a_shared_file_system_are_never_believed(
    root: ReplicaRoot, look: LastLook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of NFS remembers the times of directories for up to a minute."""
    monkeypatch.setattr(last_look, "is_shared", lambda _: True)
    look.begin_anew()
    assert not any(look.compare(root, _proved) is Since.NOTHING for _ in range(100))
