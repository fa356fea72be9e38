"""Directories of mailboxes are renamed as they are, and removed only when there is nothing in them."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from syncd.errors import FileError
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.effects.directories import (
    Renaming,
    Whereabouts,
    are_same_directory,
    make_way,
    remove_mailbox,
    rename_directory,
    renamed_before,
    whereabouts,
)
from syncd.maildir.naming.layout import are_nearly_equal

A, B = PurePosixPath("work/A"), PurePosixPath("work/B")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[ReplicaRoot]:
    """Yield a root with the mailbox A, in which there is a message and another mailbox."""
    with ReplicaRoot(tmp_path) as opened:
        for directory in (A, A / "x"):
            opened.create(directory).close()
        (tmp_path / A / "cur" / "m:2,").write_bytes(b"m")
        yield opened


def test_directory_takes_its_new_name_with_all_that_is_inside(root: ReplicaRoot) -> None:
    """Also where directories around it are missing; a second time it is found."""
    inode = (root.path / A).stat().st_ino
    target = PurePosixPath("other/deep/B")

    assert renamed_before(root, A, target) is None
    assert rename_directory(root, A, target) is Renaming.DONE
    assert (root.path / target).stat().st_ino == inode
    assert (root.path / target / "x" / "cur").is_dir()
    assert (root.path / "other").stat().st_mode & 0o777 == 0o700
    assert rename_directory(root, A, target) is renamed_before(root, A, target) is Renaming.FOUND
    assert rename_directory(root, A, B) is renamed_before(root, A, B) is Renaming.MISSING


def test_name_in_use_is_left_alone_and_an_empty_mailbox_is_none(root: ReplicaRoot) -> None:
    """A file or a link of that name is no less in use than a mailbox with mail."""
    root.create(B).close()
    (root.path / B / "new" / "n").write_bytes(b"n")
    assert rename_directory(root, A, B) is Renaming.TAKEN

    (root.path / B / "new" / "n").unlink()
    assert rename_directory(root, A, B) is Renaming.DONE
    (root.path / "work" / "file").touch()
    (root.path / "work" / "link").symlink_to(root.path)
    for name in ("file", "link"):
        assert rename_directory(root, B, PurePosixPath("work", name)) is Renaming.TAKEN
        with pytest.raises(FileError):
            renamed_before(root, A, PurePosixPath("work", name))
    assert rename_directory(root, B, B / "inside") is Renaming.REFUSED


def test_directory_that_was_about_to_be_renamed_has_one_name_or_the_other(root: ReplicaRoot) -> None:
    """Nothing but a directory is it; where both are there, the names do not say which, but an empty one makes way."""
    assert whereabouts(root, A, B) is whereabouts(root, A, A) is Whereabouts.STAYED
    assert whereabouts(root, B, A) is Whereabouts.RENAMED
    assert whereabouts(root, B, B / "x") is Whereabouts.NOWHERE

    (root.path / B).symlink_to(root.path / A)
    assert whereabouts(root, A, B) is Whereabouts.STAYED
    assert whereabouts(root, B, A) is Whereabouts.RENAMED
    (root.path / B).unlink()
    root.create(B).close()
    assert whereabouts(root, A, B) is Whereabouts.ONE_OF_BOTH
    assert not make_way(root, B, A)
    assert make_way(root, A, A)
    assert make_way(root, A, B)
    assert not (root.path / B).exists()
    assert make_way(root, A, B)


def test_empty_mailbox_goes_and_what_is_inside_it_stays(root: ReplicaRoot) -> None:
    """With what we, and a Dovecot, keep beside mail; a program's own file keeps all of it."""
    assert not remove_mailbox(root, A)
    (root.path / A / "cur" / "m:2,").unlink()
    (root.path / A / "dovecot-keywords").touch()
    (root.path / A / "dovecot.index.log").touch()
    (root.path / A / ".notes").touch()
    assert not remove_mailbox(root, A)
    assert {path.name for path in (root.path / A).iterdir()} >= {"cur", "new", "tmp", "dovecot-keywords"}

    (root.path / A / ".notes").unlink()
    assert remove_mailbox(root, A)
    assert [path.name for path in (root.path / A).iterdir()] == ["x"]
    assert remove_mailbox(root, A / "x")
    assert remove_mailbox(root, A)
    assert not (root.path / A).exists()
    assert remove_mailbox(root, A)


def test_directory_is_no_mailbox_where_there_is_none_or_only_those_inside(root: ReplicaRoot) -> None:
    """An empty one may be where nothing is mounted, and one with a part of a mailbox is in the middle of something."""
    (root.path / "other" / "empty").mkdir(parents=True)
    (root.path / "other" / "file").touch()
    (root.path / "other" / "link").symlink_to(root.path / A)
    for name in ("other", "other/empty", "work/A", "work/A/x"):
        assert not root.lacks(PurePosixPath(name))
    for name in ("other/file", "other/link"):
        with pytest.raises(FileError):
            root.lacks(PurePosixPath(name))
    assert root.lacks(B)
    assert root.lacks(PurePosixPath("work"))
    assert root.lacks(PurePosixPath("nothing/at/all"))
    assert not root.lacks(PurePosixPath("other/empty/inside"))

    (root.path / A / "new").rmdir()
    (root.path / A / "tmp").rmdir()
    assert not root.lacks(A)
    (root.path / A / "cur").rename(root.path / A / "away")
    assert root.lacks(A)
    (root.path / A / "new").touch()
    assert not root.lacks(A)


def test_delivery_that_is_faster_keeps_the_mailbox(root: ReplicaRoot) -> None:
    """What was removed before it was noticed is there again."""
    (root.path / A / "cur" / "m:2,").rename(root.path / A / "new" / "m")

    assert not remove_mailbox(root, A)
    assert all((root.path / A / subdir).is_dir() for subdir in ("cur", "new", "tmp"))


def test_two_names_of_one_directory_are_noticed(root: ReplicaRoot) -> None:
    """A disk that folds case, or forms of Unicode, has one directory for them."""
    assert are_same_directory(root, A, A)
    assert not are_same_directory(root, A, A / "x")
    assert not are_same_directory(root, B, B)
    for one, other in ((".work.Foo", ".work.foo"), ("work/Caf\u00e9", "work/CAFE\u0301"), (".a.&AMk-", ".a.&AOk-")):
        assert are_nearly_equal(one, other)
    for one, other in (("a", "a"), ("a/b", "a.b"), (".a.&AMk-", ".a.e")):
        assert not are_nearly_equal(one, other)
