"""Linking another device's file while somebody changes it: what is published, what is undone, what a crash leaves."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from syncd.errors import Reach, Temper
from syncd.mail.tree import BodyForm, ReplicaMessage, ReplicaState
from syncd.maildir.disk.files import FileFacts, LinkRefusal
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.effects.perform import Deliver, Failed, LinkSource, Stale
from syncd.reconcile.changes import Change, Edited, Sighting, compare
from tests.unit.maildir.builders import (
    DATE,
    INBOX,
    MESSAGE,
    delivery,
    done,
    names_in,
    one,
    path_of,
    second_root,
)

WRITTEN = MESSAGE.replace(b"\r\n", b"\n")
EMPTY: Mapping[str, list[str]] = {"new": [], "cur": [], "tmp": []}
Deed = Callable[[], None]
AroundLink = Callable[..., None]


class CrashError(BaseException):
    """The end of the process at this point."""


class Devices(NamedTuple):
    """The device that has the message already, as `source`, and the one that is to link it."""

    source: Path
    other: ReplicaRoot

    def delivery(self, first: Deliver | None = None) -> Deliver:
        """Return a delivery that may link the source; after the `first` one, its repetition."""
        link = LinkSource(self.source.parents[2], INBOX, self.source.parent.name, self.source.name)
        return delivery(link=link, name=None if first is None else first.name, is_repeated=first is not None)


@pytest.fixture
def devices(root: ReplicaRoot, tmp_path: Path) -> Iterator[Devices]:
    root.create(INBOX).close()
    source = path_of(root, one(root, delivery()))
    with second_root(tmp_path) as other:
        yield Devices(source, other)


@pytest.fixture
def around_link(monkeypatch: pytest.MonkeyPatch) -> AroundLink:
    """Return a function that has something happen just before the next link is made, and just after it."""
    link = os.link

    def arrange(*, before: Deed | None = None, after: Deed | None = None) -> None:
        def once(*args: Any, **kwargs: Any) -> None:
            monkeypatch.setattr(os, "link", link)
            if before is not None:
                before()
            link(*args, **kwargs)
            if after is not None:
                after()

        monkeypatch.setattr(os, "link", once)

    return arrange


def put(path: Path, octets: bytes, *, mtime: int = DATE) -> None:
    """Put another file in place of one, as a program does that writes beside and renames."""
    beside = path.with_name(f"{path.name}.beside")
    beside.write_bytes(octets)
    os.utime(beside, (mtime, mtime))
    beside.replace(path)


def crash() -> None:
    raise CrashError


def replace_source(kind: str, path: Path) -> None:
    """Do to a file what a mail program or a person may do to it."""
    match kind:
        case "longer":
            put(path, WRITTEN + b"edited\n")
        case "shorter":
            put(path, WRITTEN[:-1])
        case "dated":
            put(path, WRITTEN.upper(), mtime=DATE + 1)
        case "edited-in-place":
            path.write_bytes(WRITTEN.upper())
        case _:
            path.unlink()
    match kind:
        case "symlink":
            path.symlink_to(path.parents[3] / "secret")
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()


# Before the link.


def test_source_edited_before_is_refused_and_nothing_is_published(devices: Devices) -> None:
    """The refusal itself leaves no name anywhere; writing a copy is somebody else's decision."""
    put(devices.source, WRITTEN.upper(), mtime=DATE + 1)
    expected = FileFacts(len(WRITTEN), DATE)
    name = devices.source.name
    with (
        ReplicaRoot(devices.source.parents[2]) as root,
        root.mailbox(INBOX) as there,
        devices.other.mailbox(INBOX) as here,
    ):
        refusal = here.link("new", "wanted", there, source_subdir="new", source_filename=name, expected=expected)

    assert LinkRefusal.CHANGED is refusal
    assert names_in(devices.other) == EMPTY


def test_source_edited_before_is_left_alone_and_a_copy_is_written(devices: Devices) -> None:
    """The message arrives from the store, and the device keeps its edit to itself."""
    put(devices.source, WRITTEN.upper(), mtime=DATE + 1)

    outcome = one(devices.other, devices.delivery())

    assert (done(outcome).is_linked, done(outcome).refusal) == (False, LinkRefusal.CHANGED)
    assert path_of(devices.other, outcome).read_bytes() == WRITTEN
    assert WRITTEN.upper() == devices.source.read_bytes()
    assert [path.stat().st_nlink for path in (devices.source, path_of(devices.other, outcome))] == [1, 1]


# Between the look and the link.


@pytest.mark.parametrize(
    ("kind", "refusal"),
    [
        ("longer", LinkRefusal.CHANGED),
        ("shorter", LinkRefusal.CHANGED),
        ("dated", LinkRefusal.CHANGED),
        ("edited-in-place", LinkRefusal.CHANGED),
        ("symlink", LinkRefusal.CHANGED),
        ("fifo", LinkRefusal.CHANGED),
        ("directory", LinkRefusal.UNSUPPORTED),
        ("gone", LinkRefusal.GONE),
    ],
)
def test_source_replaced_before_the_link_means_a_copy(
    devices: Devices, around_link: AroundLink, kind: str, refusal: LinkRefusal
) -> None:
    """What was linked in its place is taken away again, and the message is written from the store."""
    (devices.source.parents[3] / "secret").write_bytes(b"secret")
    around_link(before=partial(replace_source, kind, devices.source))
    effect = devices.delivery()

    outcome = one(devices.other, effect)

    assert (False, refusal) == (done(outcome).is_linked, done(outcome).refusal)
    assert {**EMPTY, "new": [effect.name]} == names_in(devices.other)
    found = path_of(devices.other, outcome)
    assert found.read_bytes() == WRITTEN
    assert (found.is_symlink(), found.stat().st_nlink, found.stat().st_mtime) == (False, 1, DATE)


def test_wrong_link_taken_before_it_is_undone_fails_the_message(devices: Devices, around_link: AroundLink) -> None:
    """Where a mail program has moved the wrong file on, that message alone waits; the file is not looked for."""
    effect = devices.delivery()
    inbox = devices.other.path / INBOX
    taken = inbox / "cur" / f"{effect.name}:2,S"
    around_link(
        before=partial(replace_source, "longer", devices.source),
        after=partial(os.rename, inbox / "new" / effect.name, taken),
    )

    outcome = one(devices.other, effect)

    assert isinstance(outcome, Failed)
    assert (outcome.error.reach, outcome.error.temper) == (Reach.MESSAGE, Temper.RETRY)
    assert {**EMPTY, "cur": [taken.name]} == names_in(devices.other)
    assert Stale() == one(devices.other, devices.delivery(effect))
    assert taken.read_bytes() == WRITTEN + b"edited\n"


def test_wrong_link_removed_before_it_is_undone_is_delivered_by_the_retry(
    devices: Devices, around_link: AroundLink
) -> None:
    """Where a mail program has deleted the wrong file, the next attempt writes the right one under its name."""
    effect = devices.delivery()
    around_link(
        before=partial(replace_source, "longer", devices.source),
        after=(devices.other.path / INBOX / "new" / effect.name).unlink,
    )
    failed = one(devices.other, effect)

    outcome = one(devices.other, devices.delivery(effect))

    assert isinstance(failed, Failed)
    assert {**EMPTY, "new": [effect.name]} == names_in(devices.other)
    assert path_of(devices.other, outcome).read_bytes() == WRITTEN


@pytest.mark.parametrize("error", [FileExistsError(), OSError(errno.EIO, "lost")])
def test_link_that_worked_and_was_reported_as_an_error_counts(
    devices: Devices, around_link: AroundLink, error: OSError
) -> None:
    """A network file system may lose the answer to a link: the file is there, whole, and stays the one it is."""

    def lose() -> None:
        raise error

    around_link(after=lose)

    outcome = one(devices.other, devices.delivery())

    assert path_of(devices.other, outcome).samefile(devices.source)
    assert names_in(devices.other)["tmp"] == []


# After a crash.


@pytest.mark.parametrize("kind", ["longer", "dated"])
def test_crash_before_the_undo_leaves_a_file_that_is_the_devices(
    devices: Devices, around_link: AroundLink, kind: str
) -> None:
    """A wrong link that is not shorter than the message is never written over, and a look takes it for an edit."""
    effect = devices.delivery()
    around_link(before=partial(replace_source, kind, devices.source), after=crash)
    with pytest.raises(CrashError):
        one(devices.other, effect)
    linked = devices.other.path / INBOX / "new" / effect.name
    octets = linked.read_bytes()

    outcome = one(devices.other, devices.delivery(effect))

    assert Stale() == outcome
    assert octets == linked.read_bytes()
    (change,) = seen_while_delivering(effect, linked)
    assert isinstance(change, Edited)


def test_crash_before_the_undo_leaves_a_shorter_file_that_is_written_anew(
    devices: Devices, around_link: AroundLink
) -> None:
    """What is shorter than the message counts as torn; the other device's file is not written through the link."""
    effect = devices.delivery()
    around_link(before=partial(replace_source, "shorter", devices.source), after=crash)
    with pytest.raises(CrashError):
        one(devices.other, effect)
    linked = devices.other.path / INBOX / "new" / effect.name
    assert linked.samefile(devices.source)
    assert seen_while_delivering(effect, linked) == ()

    outcome = one(devices.other, devices.delivery(effect))

    assert linked == path_of(devices.other, outcome)
    assert linked.read_bytes() == WRITTEN
    assert FileFacts(len(WRITTEN), DATE) == done(outcome).facts
    assert WRITTEN[:-1] == devices.source.read_bytes()
    assert {**EMPTY, "new": [effect.name]} == names_in(devices.other)


def test_crash_after_a_good_link_is_found_done(devices: Devices, around_link: AroundLink) -> None:
    """A link to a file as recorded is the delivery, whoever was stopped before saying so."""
    effect = devices.delivery()
    around_link(after=crash)
    with pytest.raises(CrashError):
        one(devices.other, effect)
    linked = devices.other.path / INBOX / "new" / effect.name
    assert seen_while_delivering(effect, linked) == ()

    outcome = one(devices.other, devices.delivery(effect))

    assert linked == path_of(devices.other, outcome)
    assert linked.samefile(devices.source)


def seen_while_delivering(effect: Deliver, path: Path) -> tuple[Change, ...]:
    """Return what a look says of a file whose row still announces its delivery."""
    row = ReplicaMessage(
        id=1,
        message_id=7,
        name=effect.name,
        info=None,
        subdir="new",
        flags=effect.flags,
        state=ReplicaState.DELIVERING,
        size_bytes=effect.size_bytes,
        mtime=effect.mtime,
        form=BodyForm.LF,
        version=1,
    )
    found = path.stat()
    seen = Sighting(effect.name, None, "new", effect.flags, found.st_size, int(found.st_mtime))
    return compare({effect.name: row}, {effect.name: seen}, [effect.name])
