"""The keyword file that a Dovecot over the replica shares with us."""

import os
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from syncd.errors import FileError, Reach, Temper
from syncd.maildir.disk.dovecot import (
    ensure_keywords,
    format_keywords,
    parse_keywords,
    read_keywords,
    restore_keywords,
)
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.keywords import EMPTY, KeywordMap

BOX = PurePosixPath(".work.INBOX")


@pytest.fixture
def box(root: ReplicaRoot) -> Path:
    root.create(BOX).close()
    return root.path / BOX


@pytest.mark.parametrize(
    ("octets", "entries"),
    [
        (b"", ()),
        (b"0 $Label1\n1 work\n", ((0, "$Label1"), (1, "work"))),
        (b"1 b\n0 a", ((0, "a"), (1, "b"))),
        (b"0 a\n0 b\n", ((0, "b"),)),
        (b"\nx a\n-1 b\n3\n4 \n99999999999 c\n5 d\n", ((5, "d"),)),
        (b"0 \xff\n30 two words\n", ((0, "\udcff"), (30, "two words"))),
    ],
)
def test_keyword_file_is_read_tolerantly(octets: bytes, entries: tuple[tuple[int, str], ...]) -> None:
    """Whatever stands in the file, the lines that are entries count."""
    assert parse_keywords(octets) == KeywordMap(entries)
    assert parse_keywords(format_keywords(KeywordMap(entries))) == KeywordMap(entries)


def test_keywords_are_added_after_the_others(root: ReplicaRoot, box: Path) -> None:
    """Foreign entries keep their numbers and octets, ours follow; the file is private and the lock gone."""
    (box / "dovecot-keywords").write_bytes(b"0 theirs\n1 \xff\n")

    found = ensure_keywords(root, BOX, ["$Label1", "\\Seen", "not an atom", "THEIRS"], known=EMPTY)

    assert (box / "dovecot-keywords").read_bytes() == b"0 theirs\n1 \xff\n2 $Label1\n"
    assert found == read_keywords(root, BOX)
    assert stat.S_IMODE((box / "dovecot-keywords").stat().st_mode) == 0o600
    assert {path.name for path in box.iterdir()} == {"cur", "new", "tmp", "dovecot-keywords"}


def test_known_keywords_touch_nothing(root: ReplicaRoot, box: Path) -> None:
    """Cost follows change: what has a letter already is not looked up on disk."""
    known = KeywordMap(((0, "work"),))

    assert ensure_keywords(root, BOX, ["Work", "\\Seen"], known=known) == known
    assert not (box / "dovecot-keywords").exists()


def test_lost_entries_come_back(root: ReplicaRoot, box: Path) -> None:
    """A keyword file that was deleted does not change what letters mean, where Dovecot has not decided otherwise."""
    (box / "dovecot-keywords").write_bytes(b"1 other\n")

    found = ensure_keywords(root, BOX, ["new"], known=KeywordMap(((0, "a"), (1, "b"))))

    assert found == read_keywords(root, BOX) == KeywordMap(((0, "a"), (1, "other"), (2, "new")))


def test_lost_entries_are_put_back_without_a_new_one(root: ReplicaRoot, box: Path) -> None:
    """Restoring gives no letter; a list that lost nothing is not written."""
    known = KeywordMap(((0, "a"), (2, "b")))
    assert restore_keywords(root, BOX, known=known) == known
    assert (box / "dovecot-keywords").read_bytes() == b"0 a\n2 b\n"

    before = (box / "dovecot-keywords").stat()
    assert restore_keywords(root, BOX, known=KeywordMap(((0, "a"),))) == known
    assert (box / "dovecot-keywords").stat().st_ino == before.st_ino


def test_twenty_seventh_keyword_gets_no_letter(root: ReplicaRoot, box: Path) -> None:
    """The first 26 are given, the rest is left out without an error, and then nothing is locked any more."""
    found = ensure_keywords(root, BOX, [f"k{number:02}" for number in range(30)], known=EMPTY)

    assert found.is_full
    assert found.keywords == {f"k{number:02}" for number in range(26)}
    (box / "dovecot-uidlist.lock").write_bytes(b"")
    assert ensure_keywords(root, BOX, ["more"], known=found) == found


def test_writers_do_not_lose_each_others_keywords(root: ReplicaRoot, box: Path) -> None:
    """The file is read again under the lock, so every writer's keyword survives."""
    with ThreadPoolExecutor(4) as threads:
        jobs = [
            threads.submit(ensure_keywords, root, BOX, [f"k{number}"], known=EMPTY, lock_timeout_s=20)
            for number in range(12)
        ]
        for job in jobs:
            job.result()

    assert read_keywords(root, BOX).keywords == {f"k{number}" for number in range(12)}


def test_held_lock_is_an_error_of_that_mailbox(root: ReplicaRoot, box: Path) -> None:
    """While another program holds the lock nothing is written; trying again helps."""
    (box / "dovecot-uidlist.lock").write_text(f"{os.getpid()}:{socket.gethostname()}")

    with pytest.raises(FileError, match="another program") as caught:
        ensure_keywords(root, BOX, ["work"], known=EMPTY, lock_timeout_s=0.05)
    assert (caught.value.reach, caught.value.temper) == (Reach.MAILBOX, Temper.RETRY)
    assert not (box / "dovecot-keywords").exists()


@pytest.mark.parametrize("kind", ["dead", "old"])
def test_lock_without_an_owner_is_broken(root: ReplicaRoot, box: Path, kind: str) -> None:
    """A lock that a killed program left behind stops nobody for long."""
    lock = box / "dovecot-uidlist.lock"
    if kind == "dead":
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        lock.write_text(f"{ended.pid}:{socket.gethostname()}")
    else:
        lock.write_text("1:elsewhere.example.org")
        os.utime(lock, (0, 0))

    assert ensure_keywords(root, BOX, ["work"], known=EMPTY).letter("work") == "a"
    assert not lock.exists()


def test_linked_keyword_file_is_not_written_through(root: ReplicaRoot, box: Path, tmp_path: Path) -> None:
    """A link planted as keyword file, or as its temporary, is replaced and not followed."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"0 secret\n")
    (box / "dovecot-keywords").symlink_to(victim)
    (box / "dovecot-keywords.lock").symlink_to(victim)

    found = ensure_keywords(root, BOX, ["work"], known=EMPTY)

    assert found == KeywordMap(((0, "work"),))
    assert victim.read_bytes() == b"0 secret\n"
