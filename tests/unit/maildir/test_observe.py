"""Listings of a mailbox: complete or an error, and what they make of odd files."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from syncd.errors import Cause, FileError, MailboxLostError, Reach, cause_of
from syncd.maildir.disk.dovecot import read_keywords
from syncd.maildir.disk.files import Absence, FileFacts
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.news.observe import Called, SeenFile, Sighting, called_in, list_mailbox, names_in, seen_now
from syncd.maildir.system import libc

BOX = PurePosixPath(".work.INBOX")


@pytest.fixture
def box(root: ReplicaRoot) -> Path:
    root.create(BOX).close()
    return root.path / BOX


def test_nothing_stays_open_of_what_cannot_be_opened(root: ReplicaRoot, box: Path) -> None:
    """Neither the way to a directory, nor what was opened of a mailbox before something of it was not there."""
    root.create(BOX / "inside").close()
    before = set(Path("/proc/self/fd").iterdir())

    root.mailbox(BOX / "inside").close()
    (box / "tmp").rmdir()
    for directory in (BOX, BOX / "nothing", BOX / "inside" / "nothing"):
        with pytest.raises(FileError):
            root.mailbox(directory)
    list(root.walk())

    assert set(Path("/proc/self/fd").iterdir()) == before


def test_listing_names_every_message_once(root: ReplicaRoot, box: Path) -> None:
    """Files of new/ and cur/ with their keys and letters; dot names and tmp/ are not messages."""
    for path in ("new/a", "new/b:2,S", "cur/c:2,FS", "cur/d", "cur/e\n:2,", "cur/.hidden", "tmp/f"):
        (box / path).touch()
    (box / "cur" / os.fsdecode(b"\xff:2,R")).touch()

    listing = list_mailbox(root, BOX)

    assert {(file.name, file.subdir, file.letters) for file in listing.files} == {
        ("a", "new", ""),
        ("b", "new", "S"),
        ("c", "cur", "FS"),
        ("d", "cur", ""),
        ("e\n", "cur", ""),
        ("\udcff", "cur", "R"),
    }
    assert listing.is_complete
    assert (listing.duplicates, listing.odd) == (frozenset(), ())


def test_names_alone_are_found_by_their_unchanging_part(root: ReplicaRoot, box: Path) -> None:
    """With whatever letters, in new/ or cur/, and whatever has the name: what is not found has no name here."""
    for path in ("new/a", "cur/b:2,FS", "cur/c:2,", "cur/d:2,S:2,"):
        (box / path).touch()
    (box / "cur" / "e:2,S").symlink_to("/etc/passwd")

    found = names_in(root, BOX)

    assert found.is_complete
    assert found.changed_ns == list_mailbox(root, BOX).changed_ns
    wanted = {"a", "b", "d:2,S", "e", "nobody"}
    assert {file.filename for file in found.called(wanted).files} == {"a", "b:2,FS", "d:2,S:2,", "e:2,S"}
    called = called_in(root, BOX, wanted)
    assert called.is_complete
    assert sorted(called.files) == sorted(found.called(wanted).files)
    assert called_in(root, BOX, {"nobody", "b:2"}) == Called([], is_complete=True)
    assert found.has("cur", "c:2,")
    assert not found.has("new", "c:2,")


@pytest.mark.skipif(not libc.has_records, reason="this system's library reads no records")
def test_directory_that_changes_while_it_is_listed_is_listed_no_further(
    root: ReplicaRoot, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the rest nothing could be concluded, and whoever waits would wait for nothing."""
    for number in range(100):
        (box / "cur" / f"1{number}").touch()
    pieces: list[bytes] = []
    records = libc.records

    def changing(directory_fd: int) -> Iterator[bytes]:
        for piece in records(directory_fd):
            pieces.append(piece)
            (box / "new" / "more").touch()
            yield piece

    monkeypatch.setattr(libc, "_RECORDS_BYTES", 1024)
    monkeypatch.setattr(libc, "records", changing)

    called = called_in(root, BOX, {f"1{number}" for number in range(10)})

    assert not called.is_complete
    assert len(pieces) == 1


def test_coarse_times_pass_within_few_looks(root: ReplicaRoot, box: Path) -> None:
    """Where times are whole seconds, a score of looks is enough for an answer: for so many who asks waits."""
    at_ns = round(time.time() * 100 - 200) * 10_000_000
    os.utime(box / "cur", ns=(at_ns, at_ns))

    in_vain = list(iter(lambda: called_in(root, BOX, {"a"}), Called([], is_complete=True)))

    assert 0 < len(in_vain) < 10


@pytest.mark.parametrize(
    ("missing", "look"),
    [*((name, list_mailbox) for name in ("cur", "new", "tmp", ".")), (".", read_keywords)],
)
def test_missing_directory_is_an_error_not_an_empty_listing(
    root: ReplicaRoot, box: Path, missing: str, look: Callable[[ReplicaRoot, PurePosixPath], object]
) -> None:
    """A mailbox that lost a directory proves nothing about its messages; which one it lost is told."""
    (box / missing).rename(root.path / "elsewhere")

    with pytest.raises(MailboxLostError) as caught:
        look(root, BOX)
    assert caught.value.reach is Reach.MAILBOX
    lost = "is not there" if missing == "." else f"has no {missing}/"
    assert f"its directory {lost}" == str(caught.value)
    assert cause_of(caught.value) is Cause.MAILBOX_LOST


def test_odd_things_are_reported_by_name(root: ReplicaRoot, box: Path) -> None:
    """A link or FIFO under a message's name is neither the message nor its absence."""
    (box / "cur" / "a:2,S").symlink_to("/etc/passwd")
    os.mkfifo(box / "new" / "b")

    listing = list_mailbox(root, BOX)

    assert ((), {"a", "b"}) == (listing.files, listing.unclear)


def test_same_key_twice_is_reported(root: ReplicaRoot, box: Path) -> None:
    """Two files of one key are both listed, so that neither is mistaken for the other."""
    for path in ("new/twin", "cur/twin:2,S", "cur/single:2,"):
        (box / path).touch()

    listing = list_mailbox(root, BOX)

    assert len(listing.files) == 3
    assert listing.duplicates == {"twin"}


def test_listing_under_renames_is_never_complete_and_wrong(root: ReplicaRoot, box: Path) -> None:
    """While a device renames, a listing may miss a file, but then it does not call itself complete."""
    expected = {f"{number}" for number in range(2000)}
    for number in range(2000):
        (box / "new" / f"{number}").touch()
    stop = threading.Event()

    def rename_about() -> None:
        at = "new/7"
        while not stop.is_set():
            for to in ("cur/7:2,", "cur/7:2,S", "new/7"):
                (box / at).rename(box / to)
                at = to

    thread = threading.Thread(target=rename_about)
    thread.start()
    try:
        for _ in range(40):
            listing = list_mailbox(root, BOX)
            assert not listing.is_complete or {file.name for file in listing.files} == expected
    finally:
        stop.set()
        thread.join()
    listing = list_mailbox(root, BOX)
    assert listing.is_complete
    assert {file.name for file in listing.files} == expected


def test_listing_right_after_a_change_is_complete(root: ReplicaRoot, box: Path) -> None:
    """A quiet mailbox is listed completely at once, however fresh its last change is."""
    for number in range(5):
        (box / "new" / f"{number}").touch()

        listing = list_mailbox(root, BOX)

        assert listing.is_complete
        assert len(listing.files) == number + 1


def test_listing_soon_after_a_change_that_is_stamped_in_seconds_is_not_complete(root: ReplicaRoot, box: Path) -> None:
    """Where mtimes are whole seconds, another change in the same one would leave no trace."""
    now = int(time.time())
    for ago, is_complete in ((0, False), (1, False), (4, True)):
        for subdir in ("new", "cur"):
            os.utime(box / subdir, (now - ago, now - ago))

        assert list_mailbox(root, BOX).is_complete is is_complete


def test_second_look_tells_present_edited_missing_and_odd(root: ReplicaRoot, box: Path) -> None:
    """Facts come only for the files that were asked for, in their order."""
    (box / "cur" / "a:2,S").write_bytes(b"abc")
    os.utime(box / "cur" / "a:2,S", (5, 5))
    (box / "cur" / "b").mkdir()
    asked = (SeenFile.of("cur", "a:2,S"), SeenFile.of("cur", "b"), SeenFile.of("new", "a"))

    found = seen_now(root, BOX, asked)

    assert found == (
        Sighting(asked[0], FileFacts(3, 5)),
        Sighting(asked[1], Absence.NOT_A_FILE),
        Sighting(asked[2], Absence.MISSING),
    )
