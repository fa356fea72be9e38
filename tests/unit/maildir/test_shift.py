"""Moving files between two mailboxes of a real Maildir, once and once more, with a device in between."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from syncd.errors import FileError
from syncd.mail.flags import NONE, Flags
from syncd.maildir.disk.barrier import Touched
from syncd.maildir.disk.files import CUR, NEW, FileFacts
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.effects.shift import Kept, Shift, Shifted, ShiftOutcome, Unclear, shift_files
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.news.observe import SeenFile

INBOX, ARCHIVE = PurePosixPath(".work.INBOX"), PurePosixPath(".work.Archive")
SEEN, FLAGGED = frozenset({"\\Seen"}), frozenset({"\\Flagged"})
NAME, DATE = "1.R0123456789abcdef.syncd,S=4,W=5", 981_173_106
FACTS = FileFacts(4, DATE)
KEYWORDS = {INBOX: KeywordMap(((0, "first"), (1, "second"))), ARCHIVE: KeywordMap(((0, "second"), (1, "third")))}


@pytest.fixture(autouse=True)
def _mailboxes(root: ReplicaRoot) -> None:
    for directory in (INBOX, ARCHIVE):
        root.create(directory).close()


def test_file_stays_the_same_file(root: ReplicaRoot) -> None:
    """Inode, name and date are kept; the letters say what was asked for, by the keywords of the new mailbox."""
    path = _write(root, CUR, f"{NAME}:2,Sab")
    inode = path.stat().st_ino

    outcome = _shift(root, _file(CUR, f"{NAME}:2,Sab"), SEEN | {"first", "second"}, say=FLAGGED | {"second", "third"})

    assert Shifted(SeenFile(NAME, CUR, f"{NAME}:2,Fab")) == outcome
    moved = root.path / ARCHIVE / CUR / f"{NAME}:2,Fab"
    assert (inode, DATE) == (moved.stat().st_ino, int(moved.stat().st_mtime))
    assert not path.exists()


def test_new_file_stays_new_while_it_has_no_letters(root: ReplicaRoot) -> None:
    """A message that nobody has opened is in new/ of its new mailbox, unless something is known of it."""
    _write(root, NEW, NAME)
    assert Shifted(SeenFile(NAME, NEW, NAME)) == _shift(root, _file(NEW, NAME), NONE, say=NONE)

    _write(root, NEW, "other")
    other = SeenFile("other", NEW, "other")
    assert Shifted(SeenFile("other", CUR, "other:2,S")) == _shift(root, other, NONE, say=SEEN)


def test_what_the_device_changed_meanwhile_goes_along(root: ReplicaRoot) -> None:
    """Flags set and taken back since the record was made are so in the new mailbox as well."""
    _write(root, CUR, f"{NAME}:2,Fb")

    outcome = _shift(root, _file(CUR, f"{NAME}:2,S"), SEEN, say=SEEN | {"third"})

    assert Shifted(SeenFile(NAME, CUR, f"{NAME}:2,Fab")) == outcome


def test_letters_without_meaning_stay_only_where_they_can_get_none(root: ReplicaRoot) -> None:
    """A letter of a keyword that is not listed would be another keyword's; one of an unknown program would not."""
    _write(root, CUR, f"{NAME}:2,SZc,x=1")

    outcome = _shift(root, _file(CUR, f"{NAME}:2,SZc,x=1"), SEEN, say=SEEN)

    assert Shifted(SeenFile(NAME, CUR, f"{NAME}:2,SZ,x=1")) == outcome


def test_name_in_use_is_never_taken(root: ReplicaRoot) -> None:
    """A file of that name in the other mailbox stays, and so does ours."""
    _write(root, CUR, f"{NAME}:2,S")
    there = root.path / ARCHIVE / CUR / f"{NAME}:2,S"
    there.write_bytes(b"other")

    assert Kept() == _shift(root, _file(CUR, f"{NAME}:2,S"), SEEN, say=SEEN)
    assert there.read_bytes() == b"other"
    assert (root.path / INBOX / CUR / f"{NAME}:2,S").exists()


def _remove(path: Path) -> None:
    path.unlink()


def _edit(path: Path) -> None:
    path.write_bytes(b"edited")


def _make_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [_remove, _edit, _make_a_directory])
def test_file_that_is_not_as_recorded_is_left_alone(root: ReplicaRoot, change: Callable[[Path], None]) -> None:
    """What the device removed, edited or replaced is not taken for the message."""
    change(_write(root, CUR, f"{NAME}:2,S"))

    assert Kept() == _shift(root, _file(CUR, f"{NAME}:2,S"), SEEN, say=SEEN)
    assert list((root.path / ARCHIVE / CUR).iterdir()) == []


def test_repeated_shift_finds_what_got_through(root: ReplicaRoot) -> None:
    """Stopped before the rename it is done; stopped after it, it is found, though the device marked the file since."""
    here = _file(CUR, f"{NAME}:2,S")
    _write(root, CUR, f"{NAME}:2,S")
    first = _shift(root, here, SEEN, say=SEEN, is_repeated=True)
    second = _shift(root, here, SEEN, say=SEEN, is_repeated=True)
    archive = root.path / ARCHIVE / CUR
    (archive / f"{NAME}:2,S").rename(archive / f"{NAME}:2,FS")
    third = _shift(root, here, SEEN, say=SEEN, is_repeated=True)

    assert [Shifted(SeenFile(NAME, CUR, f"{NAME}:2,S"))] * 2 == [first, second]
    assert Shifted(SeenFile(NAME, CUR, f"{NAME}:2,FS")) == third


def test_repeated_shift_of_what_is_nowhere_is_unclear(root: ReplicaRoot) -> None:
    """Nothing is taken back that may have happened: whoever removes and delivers ends it."""
    assert Unclear() == _shift(root, _file(CUR, f"{NAME}:2,S"), SEEN, say=SEEN, is_repeated=True)


@pytest.mark.parametrize("is_repeated", [False, True])
def test_mailbox_that_cannot_be_opened_moves_nothing(root: ReplicaRoot, is_repeated: bool) -> None:
    """The trouble is told of by whoever delivers there."""
    _write(root, CUR, f"{NAME}:2,S")
    shutil.rmtree(root.path / ARCHIVE / CUR)

    outcome = _shift(root, _file(CUR, f"{NAME}:2,S"), SEEN, say=SEEN, is_repeated=is_repeated)

    assert (Unclear() if is_repeated else Kept()) == outcome
    assert (root.path / INBOX / CUR / f"{NAME}:2,S").exists()


def test_barrier_covers_both_mailboxes(root: ReplicaRoot) -> None:
    """The list that the name leaves and the one that gets it are written to disk; a failure is nobody's success."""
    _write(root, CUR, f"{NAME}:2,S")
    covered: list[Touched] = []

    def failing(_: ReplicaRoot, touched: object) -> None:
        covered.extend(touched)  # type: ignore[call-overload]
        raise FileError("no disk")

    with pytest.raises(FileError, match="no disk"):
        shift_files(
            root,
            INBOX,
            ARCHIVE,
            [Shift(_file(CUR, f"{NAME}:2,S"), SEEN, SEEN, FACTS)],
            keywords=KEYWORDS.__getitem__,
            barrier=failing,
        )

    assert {Touched(INBOX, CUR), Touched(ARCHIVE, CUR)} <= set(covered)


def test_another_file_system_is_no_place_to_move_to(root: ReplicaRoot, elsewhere: Path) -> None:
    """Where no rename leads to, nothing is moved, and that is no error."""
    _write(root, CUR, f"{NAME}:2,S")
    with ReplicaRoot(elsewhere) as other, root.mailbox(INBOX) as source, other.create(INBOX) as target:
        if source.device_number() == target.device_number():
            pytest.skip("/dev/shm is no file system of its own here")

        moved = source.move(CUR, f"{NAME}:2,S", target, to_subdir=CUR, to_filename=f"{NAME}:2,S")

    assert moved is None
    assert (root.path / INBOX / CUR / f"{NAME}:2,S").exists()


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """Yield a directory in memory."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm here")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="syncd-test-") as path:
        yield Path(path)


def _write(root: ReplicaRoot, subdir: str, filename: str) -> Path:
    path = root.path / INBOX / subdir / filename
    path.write_bytes(b"mail")
    os.utime(path, (DATE, DATE))
    return path


def _file(subdir: str, filename: str) -> SeenFile:
    return SeenFile(NAME, subdir, filename)


def _shift(root: ReplicaRoot, file: SeenFile, flags: Flags, *, say: Flags, is_repeated: bool = False) -> ShiftOutcome:
    shift = Shift(file, flags, say, FACTS, is_repeated)
    return shift_files(root, INBOX, ARCHIVE, [shift], keywords=KEYWORDS.__getitem__)[0]
