"""Deliver, Rename, Remove on a real Maildir: octets, names, links, repetition, and what is never overwritten."""

import mailbox
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest

from syncd.errors import FileError, Reach
from syncd.mail.flags import NONE, Flags
from syncd.mail.message import facts_of
from syncd.mail.tree import BodyForm
from syncd.maildir.barrier import Touched
from syncd.maildir.files import FileFacts, LinkRefusal
from syncd.maildir.keywords import EMPTY, KeywordMap
from syncd.maildir.names import mint
from syncd.maildir.perform import (
    Deliver,
    Done,
    Effect,
    Failed,
    LinkSource,
    Outcome,
    Place,
    Remove,
    Rename,
    Stale,
    perform,
)
from syncd.maildir.root import ReplicaRoot

INBOX = PurePosixPath(".work.INBOX")
DATE = 981_173_106
SEEN = frozenset({"\\Seen"})
MESSAGE = b"From: ana@example.org\r\nSubject: hello\r\n\r\nfirst\r\nsecond\r\n"


def delivery(
    body: bytes = MESSAGE,
    *,
    flags: Flags = NONE,
    name: str | None = None,
    directory: PurePosixPath = INBOX,
    link: LinkSource | None = None,
    is_repeated: bool = False,
    mtime: int = DATE,
) -> Deliver:
    facts = facts_of([body])
    form = BodyForm.LF if facts.is_crlf else BodyForm.RAW
    size = facts.lf_size_bytes if facts.is_crlf else facts.size_bytes
    return Deliver(
        directory=directory,
        name=name or mint(time_s=DATE, size_bytes=size, wire_size_bytes=len(body)),
        flags=flags,
        mtime=mtime,
        form=form,
        size_bytes=size,
        body=lambda: (body[at : at + 7] for at in range(0, len(body), 7)),
        link=link,
        is_repeated=is_repeated,
    )


def run(root: ReplicaRoot, *effects: Effect, keywords: KeywordMap = EMPTY) -> tuple[Outcome, ...]:
    return perform(root, effects, keywords=lambda _: keywords)


def one(root: ReplicaRoot, effect: Effect, *, keywords: KeywordMap = EMPTY) -> Outcome:
    return run(root, effect, keywords=keywords)[0]


def done(outcome: Outcome) -> Done:
    assert isinstance(outcome, Done), outcome
    return outcome


def path_of(root: ReplicaRoot, outcome: Outcome, directory: PurePosixPath = INBOX) -> Path:
    file = done(outcome).file
    assert file is not None
    return root.path / directory / file.subdir / file.filename


def names_in(root: ReplicaRoot, directory: PurePosixPath = INBOX) -> dict[str, list[str]]:
    return {sub: sorted(path.name for path in (root.path / directory / sub).iterdir()) for sub in ("new", "cur", "tmp")}


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
    assert body == (written.replace(b"\n", b"\r\n") if effect.form is BodyForm.LF else written)
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
    with _other(tmp_path) as other:
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
    with _other(tmp_path) as other:
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
    with _other(tmp_path) as other:
        outcome = one(other, delivery(link=source))

        found = path_of(other, outcome)
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
        with _other(path) as other:
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
    bad = Deliver(INBOX, bad.name, NONE, DATE, bad.form, bad.size_bytes, body=lambda: [MESSAGE[:-2]])

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
        one(root, Deliver(INBOX, effect.name, NONE, DATE, effect.form, effect.size_bytes, body=broken))

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


def test_remove_takes_the_file_wherever_the_device_renamed_it(root: ReplicaRoot) -> None:
    """A deletion of the server wins over a flag change of the device, and repeating it is done at once."""
    effect = delivery()
    path = path_of(root, one(root, effect))
    path.rename(path.parent.parent / "cur" / f"{effect.name}:2,S")
    remove = Remove(Place(INBOX, effect.name, "new", NONE), FileFacts(effect.size_bytes, DATE))

    assert (Done(None, None), Done(None, None)) == (one(root, remove), one(root, remove))
    assert names_in(root) == {"new": [], "cur": [], "tmp": []}


def test_remove_spares_an_edited_file(root: ReplicaRoot) -> None:
    """What the device edited in place is the device's message, not the one that was deleted."""
    effect = delivery()
    path = path_of(root, one(root, effect))
    path.write_bytes(b"edited")

    assert Stale() == one(root, Remove(Place(INBOX, effect.name, "new", NONE), FileFacts(effect.size_bytes, DATE)))
    assert path.read_bytes() == b"edited"


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


def test_failing_barrier_withdraws_the_batch(root: ReplicaRoot) -> None:
    """What may not be on disk is never counted as durable: it is taken away, so that it is written anew."""

    def failing(root: ReplicaRoot, touched: Iterable[Touched]) -> None:
        assert [place.filename for place in touched] == [effect.name]
        raise FileError("cannot make a batch durable: EIO (input/output error)")

    effect = delivery()
    with pytest.raises(FileError, match="EIO"):
        perform(root, [effect], keywords=lambda _: EMPTY, barrier=failing)

    assert names_in(root) == {"new": [], "cur": [], "tmp": []}


def test_large_batch_is_one_barrier(root: ReplicaRoot) -> None:
    """A batch above the small size goes through the whole-file-system barrier and arrives whole."""
    effects = [delivery() for _ in range(40)]

    outcomes = run(root, *effects)

    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert sorted(effect.name for effect in effects) == names_in(root)["new"]


_CHILD = """
    import os, resource, signal, sys
    from pathlib import Path, PurePosixPath
    from syncd.mail.tree import BodyForm
    from syncd.maildir.keywords import EMPTY
    from syncd.maildir.perform import Deliver, perform
    from syncd.maildir.root import ReplicaRoot

    def body():
        yield b"x" * 4096
        if sys.argv[2] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        yield b"x" * 61440

    if sys.argv[2] == "limit":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
    os.umask(int(sys.argv[3], 8))
    name = "1.R0123456789abcdef.syncd,S=65536,W=65536"
    with ReplicaRoot(Path(sys.argv[1])) as root:
        root.create(PurePosixPath(".work.Made")).close()
        effect = Deliver(PurePosixPath(".work.Made"), name, frozenset(), 1, BodyForm.RAW, 65536, body)
        print(perform(root, [effect], keywords=lambda _: EMPTY))
"""


def _child(root: ReplicaRoot, how: str, umask: str = "022") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_CHILD), str(root.path), how, umask],
        capture_output=True,
        text=True,
        timeout=60,
    )


MADE = PurePosixPath(".work.Made")


def test_short_write_fails_the_message_and_leaves_nothing(root: ReplicaRoot) -> None:
    """A file that the system cuts short in the middle (RLIMIT_FSIZE) is no message and no litter."""
    ended = _child(root, "limit")

    assert "Failed(error=FileError('cannot write a message: EFBIG (file too large)'))" in ended.stdout, ended.stderr
    assert names_in(root, MADE) == {"new": [], "cur": [], "tmp": []}


def test_kill_in_the_middle_of_a_delivery_leaves_only_litter_that_is_cleaned(root: ReplicaRoot) -> None:
    """Nothing partial becomes visible in new/ or cur/, and the next start removes our own leftovers from tmp/."""
    ended = _child(root, "kill")
    before = names_in(root, MADE)
    with root.mailbox(MADE) as directory:
        count = directory.clean_tmp(now_s=DATE)

    assert ended.returncode == -9
    assert before == {"new": [], "cur": [], "tmp": ["1.R0123456789abcdef.syncd,S=65536,W=65536"]}
    assert (count, names_in(root, MADE)["tmp"]) == (1, [])


@pytest.mark.parametrize("umask", ["000", "022", "777"])
def test_modes_are_private_whatever_the_umask(root: ReplicaRoot, umask: str) -> None:
    """Directories 0700 and files 0600, neither less nor more."""
    ended = _child(root, "live", umask)

    modes = {path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in (root.path / MADE).rglob("*")}
    assert "Done" in ended.stdout, ended.stderr
    assert modes == {True: 0o700, False: 0o600}
    assert stat.S_IMODE((root.path / MADE).stat().st_mode) == 0o700


def _other(path: Path) -> ReplicaRoot:
    (path / "other").mkdir(parents=True, mode=0o700)
    other = ReplicaRoot(path / "other")
    other.create(INBOX).close()
    return other
