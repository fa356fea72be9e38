"""Deliver on a real Maildir: octets, names, links, repetition, and what is never overwritten."""

import mailbox
import os
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest

from syncd.errors import Reach
from syncd.mail.flags import NONE
from syncd.mail.message import facts_of
from syncd.maildir.disk.files import FileFacts, LinkRefusal
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.effects.perform import (
    Deliver,
    Failed,
    LinkSource,
    Stale,
)
from tests.unit.maildir.builders import (
    DATE,
    INBOX,
    MESSAGE,
    SEEN,
    delivery,
    done,
    names_in,
    one,
    path_of,
    run,
    second_root,
)


@pytest.fixture(autouse=True)
def _inbox(root: ReplicaRoot) -> None:
    root.create(INBOX).close()


@pytest.mark.parametrize(
    ("body", "octets"),
    [
        pytest.param(b"A: b\r\n\r\none\r\n", b"A: b\n\none\n", id="crlf-becomes-lf"),
        pytest.param(b"A: b\n\none\n", b"A: b\n\none\n", id="lf-stays"),
        pytest.param(b"A: b\r\n\none\r\n", b"A: b\r\n\none\r\n", id="mixed-stays"),
        pytest.param(b"A: b\r\n\r\none\rtwo\r\n", b"A: b\r\n\r\none\rtwo\r\n", id="bare-cr-stays"),
        pytest.param(b"A: b\r\n\r\none\r", b"A: b\r\n\r\none\r", id="cr-at-the-end-stays"),
        pytest.param(b"", b"", id="empty"),
        pytest.param(b"A: b\r\n\r\nno end", b"A: b\n\nno end", id="no-final-line-end"),
        pytest.param(b"A: \xff\xfe\r\n\r\n\x00\x00\r\n", b"A: \xff\xfe\n\n\x00\x00\n", id="nul-and-8-bit"),
    ],
)
def test_body_delivered_gives_the_server_octets_back(root: ReplicaRoot, body: bytes, octets: bytes) -> None:
    """A file has LF when every line end is CRLF, else the octets unchanged; either way the body can be reproduced."""
    effect = delivery(body)

    outcome = one(root, effect)

    written = path_of(root, outcome).read_bytes()
    assert octets == written
    assert body == (written.replace(b"\n", b"\r\n") if facts_of([body]).is_crlf else written)
    assert FileFacts(len(octets), DATE) == done(outcome).facts


def test_message_without_flags_goes_to_new_and_with_flags_to_cur(root: ReplicaRoot) -> None:
    """A file has letters in cur/ only, and no mark of them in new/."""
    plain, read = delivery(), delivery(flags=SEEN)

    run(root, plain, read)

    assert {"new": [plain.name], "cur": [f"{read.name}:2,S"], "tmp": []} == names_in(root)


def test_delivered_file_is_private_and_dated(root: ReplicaRoot) -> None:
    """Mode 0600, and the mtime is INTERNALDATE."""
    found = path_of(root, one(root, delivery())).stat()

    assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (0o600, DATE)


@pytest.mark.parametrize("date", [-86_400, 0, 4_102_444_800, 2**62])
def test_odd_dates_are_delivered_and_reported_as_the_file_system_keeps_them(root: ReplicaRoot, date: int) -> None:
    """A date before 1970, or beyond what a file system can keep, is no reason to lose the message."""
    outcome = one(root, delivery(mtime=date))

    facts = done(outcome).facts
    assert facts is not None
    assert int(path_of(root, outcome).stat().st_mtime) == facts.mtime


def test_python_mailbox_reads_what_we_deliver(root: ReplicaRoot) -> None:
    """An independent reader finds message, flags and date in a replica."""
    run(root, delivery(flags=frozenset({"\\Seen", "\\Flagged", "$Forwarded"})), delivery())

    reader = mailbox.Maildir(root.path / INBOX, create=False)
    found = sorted((message.get_subdir(), message.get_flags(), message.get_date()) for message in reader)

    assert [("cur", "FPS", float(DATE)), ("new", "", float(DATE))] == found
    assert {"hello"} == {message["Subject"] for message in reader}


def test_second_device_gets_a_link(root: ReplicaRoot, tmp_path: Path) -> None:
    """One write per body and machine: equal octets, date and file system share an inode."""
    first = path_of(root, one(root, delivery(flags=SEEN)))
    with second_root(tmp_path) as other:
        link = LinkSource(root.path, INBOX, "cur", first.name)
        outcome = one(other, delivery(link=link))

        assert done(outcome).is_linked
        assert path_of(other, outcome).samefile(first)
        assert names_in(other)["tmp"] == []


@pytest.mark.parametrize("edit", ["longer", "dated"])
def test_edited_source_is_not_linked(root: ReplicaRoot, tmp_path: Path, edit: str) -> None:
    """A file edited in place is refused as a link source, the message is written from the body instead."""
    first = path_of(root, one(root, delivery()))
    if edit == "longer":
        with first.open("ab") as file:
            file.write(b"edited")
        os.utime(first, (DATE, DATE))
    else:
        os.utime(first, (DATE + 1, DATE + 1))
    with second_root(tmp_path) as other:
        outcome = one(other, delivery(link=LinkSource(root.path, INBOX, "new", first.name)))

        assert (done(outcome).is_linked, done(outcome).refusal) == (False, LinkRefusal.CHANGED)
        assert MESSAGE.replace(b"\r\n", b"\n") == path_of(other, outcome).read_bytes()


@pytest.mark.parametrize("kind", ["missing", "symlink", "mailbox-missing", "root-missing"])
def test_unusable_link_source_means_a_copy(root: ReplicaRoot, tmp_path: Path, kind: str) -> None:
    """Nothing that is no regular file of a replica is ever linked; the message arrives all the same."""
    secret = tmp_path / "secret"
    secret.write_bytes(MESSAGE.replace(b"\r\n", b"\n"))
    os.utime(secret, (DATE, DATE))
    source = LinkSource(root.path, INBOX, "cur", "planted")
    if kind == "symlink":
        (root.path / INBOX / "cur" / "planted").symlink_to(secret)
    elif kind == "mailbox-missing":
        source = LinkSource(root.path, PurePosixPath(".work.None"), "cur", "planted")
    elif kind == "root-missing":
        source = LinkSource(tmp_path / "none", INBOX, "cur", "planted")
    with second_root(tmp_path) as other:
        outcome = one(other, delivery(link=source))

        found = path_of(other, outcome)
        assert done(outcome).refusal is (LinkRefusal.CHANGED if kind == "symlink" else LinkRefusal.GONE)
        assert not done(outcome).is_linked
        assert found.is_file()
        assert not found.is_symlink()
        assert found.stat().st_nlink == 1


def test_link_to_another_file_system_becomes_a_copy(root: ReplicaRoot, tmp_path: Path) -> None:
    """EXDEV is no failure: the second device gets a copy with the same octets and date."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev or not os.access(shm, os.W_OK):
        pytest.skip("no second file system here")
    first = path_of(root, one(root, delivery()))
    path = shm / f"syncd-test-{os.getpid()}"
    try:
        with second_root(path) as other:
            outcome = one(other, delivery(link=LinkSource(root.path, INBOX, "new", first.name)))

            assert (done(outcome).is_linked, done(outcome).refusal) == (False, LinkRefusal.UNSUPPORTED)
            assert first.read_bytes() == path_of(other, outcome).read_bytes()
            assert path_of(other, outcome).stat().st_mtime == DATE
    finally:
        subprocess.run(["rm", "-r", str(path)], check=True)


def test_repeated_delivery_finds_the_first(root: ReplicaRoot) -> None:
    """A delivery that got through before a crash counts as done, wherever the device has renamed it to."""
    first = delivery()
    before = path_of(root, one(root, first))
    moved = before.parent.parent / "cur" / f"{first.name}:2,FS"
    before.rename(moved)

    outcome = one(root, delivery(name=first.name, is_repeated=True))

    assert moved == path_of(root, outcome)
    assert {"new": [], "cur": [moved.name], "tmp": []} == names_in(root)


@pytest.mark.parametrize("is_repeated", [True, False])
def test_torn_delivery_is_replaced(root: ReplicaRoot, is_repeated: bool) -> None:
    """A file that a power cut left short is written again under its name."""
    first = delivery()
    path = path_of(root, one(root, first))
    os.truncate(path, 5)

    outcome = one(root, delivery(name=first.name, is_repeated=is_repeated))

    assert path == path_of(root, outcome)
    assert MESSAGE.replace(b"\r\n", b"\n") == path.read_bytes()
    assert names_in(root)["tmp"] == []


def test_file_that_grew_is_left_alone(root: ReplicaRoot) -> None:
    """A device's edit is never overwritten by a repeated delivery."""
    first = delivery()
    path = path_of(root, one(root, first))
    path.write_bytes(b"edited " * 100)

    assert Stale() == one(root, delivery(name=first.name, is_repeated=True))
    assert Stale() == one(root, delivery(name=first.name))
    assert path.read_bytes() == b"edited " * 100


def test_body_shorter_than_recorded_is_not_delivered(root: ReplicaRoot) -> None:
    """A body source that gives other octets than recorded fails that message alone, and leaves nothing."""
    good, bad = delivery(), delivery()
    bad = Deliver(INBOX, bad.name, NONE, DATE, bad.size_bytes, octets=lambda: [MESSAGE[:-2]])

    outcomes = run(root, bad, good)

    assert isinstance(outcomes[0], Failed)
    assert Reach.MESSAGE is outcomes[0].error.reach
    assert {"new": [good.name], "cur": [], "tmp": []} == names_in(root)


def test_body_source_that_breaks_leaves_nothing(root: ReplicaRoot) -> None:
    """Whatever ends a delivery, tmp/ stays empty."""

    def broken() -> Iterable[bytes]:
        yield b"half"
        raise KeyError("body")

    effect = delivery()
    with pytest.raises(KeyError):
        one(root, Deliver(INBOX, effect.name, NONE, DATE, effect.size_bytes, octets=broken))

    assert names_in(root) == {"new": [], "cur": [], "tmp": []}


def test_planted_link_in_tmp_is_not_written_through(root: ReplicaRoot, tmp_path: Path) -> None:
    """A link planted under the name of a delivery is removed, not followed."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    effect = delivery()
    (root.path / INBOX / "tmp" / effect.name).symlink_to(victim)

    path = path_of(root, one(root, effect))

    assert victim.read_bytes() == b"precious"
    assert not path.is_symlink()


def test_directory_with_the_name_of_a_delivery_fails_that_message(root: ReplicaRoot) -> None:
    """What is no file is neither removed nor taken for the message."""
    effect = delivery()
    (root.path / INBOX / "new" / effect.name).mkdir()

    for is_repeated in (False, True):
        outcome = one(root, delivery(name=effect.name, is_repeated=is_repeated))
        assert isinstance(outcome, Failed)
        assert Reach.MESSAGE is outcome.error.reach
    assert names_in(root)["tmp"] == []
