"""Files that are read ahead count as long as they are as they were, and nothing of the others is kept."""

import asyncio
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import cast
from unittest.mock import Mock

from syncd.errors import DeviceAwayError, SyncdError
from syncd.mail.flags import NONE
from syncd.mail.tree import BodyForm
from syncd.store.bodies.encoding import EncodedBody
from syncd.store.files.added_files import AddedFile, FileAsRead
from syncd.sync.device.intake_files import IntakeFiles, ReadFile
from syncd.sync.device.read_ahead import ReadAhead
from syncd.values import replace


class Body:
    """Tells whether it was closed."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def added(number: int) -> AddedFile:
    return AddedFile(number, 1, None, ".work.INBOX", "cur", f"m{number}", "S", NONE, 9, 1000)


def read(file: AddedFile, body: Body, changed_at: float | None = None) -> ReadFile:
    return ReadFile(file, FileAsRead(9, 1000, BodyForm.LF, "S"), cast("EncodedBody", body), b"", changed_at)


async def test_what_is_as_it_was_is_taken_and_the_rest_kept_as_long_as_it_is_wanted() -> None:
    """A file whose row says something else by now is to be read again."""
    files = [added(1), added(2), added(3)]
    bodies = {file: Body() for file in files}
    read_: list[list[AddedFile]] = []

    def read_them(wanted: Sequence[AddedFile]) -> list[ReadFile | SyncdError]:
        read_.append([*wanted])
        return [read(file, bodies[file]) for file in wanted]

    ahead = ReadAhead()
    ahead.begin(files[:2], read_them)
    ahead.begin(files, read_them)

    taken = await ahead.take([files[0], replace(files[1], size_bytes=10)])
    await ahead.take([files[2]])
    ahead.keep([])
    await asyncio.sleep(0)

    assert taken == [read(files[0], bodies[files[0]])]
    assert read_ == [files[:2], files[2:]]
    assert [body.is_closed for body in bodies.values()] == [False, True, False]
    assert not await ahead.take(files)


async def test_what_nobody_wants_any_more_is_let_go_of_when_it_is_read() -> None:
    """The end of a run may come before that of a reading."""
    file, body, may_end = added(1), Body(), threading.Event()

    def read_it(_: Sequence[AddedFile]) -> list[ReadFile | SyncdError]:
        may_end.wait(30.0)
        return [read(file, body)]

    ahead = ReadAhead()
    ahead.begin([file], read_it)
    reading = ahead._readings[file].of

    ahead.drop()

    assert not await ahead.take([file])
    assert not body.is_closed
    may_end.set()
    await reading
    await asyncio.sleep(0)
    assert body.is_closed


async def test_what_could_not_be_read_is_read_again() -> None:
    """By then the device may be back."""
    away = DeviceAwayError("it is away")
    ahead = ReadAhead()
    ahead.begin([added(1)], Mock(side_effect=away))
    ahead.begin([added(1), added(2)], lambda wanted: [away])

    assert not await ahead.take([added(1), added(2)])
    assert not ahead.is_busy


def test_file_that_was_written_to_since_is_read_again(tmp_path: Path) -> None:
    """The watch may not have told of it; a program may write as much again, and set the time to what it was."""
    inbox = tmp_path / ".work.INBOX"
    for subdir in ("cur", "new", "tmp"):
        (inbox / subdir).mkdir(parents=True)
    for name, octets in {"m1:2,S": b"as it was", "m2:2,S": b"written to"}.items():
        (inbox / "cur" / name).write_bytes(octets)
        os.utime(inbox / "cur" / name, (1000, 1000))
    (inbox / "cur" / "m4:2,S").write_bytes(b"as it WAS")
    before = (inbox / "cur" / "m4:2,S").stat().st_ctime
    while (inbox / "cur" / "m4:2,S").stat().st_ctime == before:  # by a clock with ticks
        (inbox / "cur" / "m4:2,S").write_bytes(b"as it was")
    os.utime(inbox / "cur" / "m4:2,S", (1000, 1000))
    bodies = [Body(), Body(), Body(), Body()]
    times = [(inbox / "cur" / "m1:2,S").stat().st_ctime, None, None, before]
    ones = [read(added(number), body, at) for number, (body, at) in enumerate(zip(bodies, times, strict=True), 1)]

    kept = IntakeFiles(tmp_path, None).unchanged(ones, lambda root: None)

    assert kept == ones[:1]
    assert [body.is_closed for body in bodies] == [False, True, True, True]
