"""Files that are read ahead count as long as they are as they were, and nothing of the others is kept."""

import asyncio
from typing import cast

from syncd.mail.flags import NONE
from syncd.mail.tree import BodyForm
from syncd.store.added_files import AddedFile, FileAsRead
from syncd.store.encoding import EncodedBody
from syncd.sync.intake_files import ReadFile
from syncd.sync.read_ahead import ReadAhead
from syncd.values import replace


class Body:
    """Tells whether it was closed."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def added(number: int) -> AddedFile:
    return AddedFile(number, 1, None, ".work.INBOX", "cur", f"m{number}", "S", NONE, 9, 1000)


def read(file: AddedFile, body: Body) -> ReadFile:
    return ReadFile(file, FileAsRead(9, 1000, BodyForm.LF, "S"), cast("EncodedBody", body), b"")


async def test_what_is_as_it_was_is_taken_and_the_rest_let_go_of() -> None:
    """A file whose row says something else by now is to be read again."""
    files, bodies = [added(1), added(2)], [Body(), Body()]
    ahead = ReadAhead()
    ahead.begin(files, lambda: [read(file, body) for file, body in zip(files, bodies, strict=True)])

    taken = await ahead.take([files[0], replace(files[1], size_bytes=10)])

    assert taken == {files[0]: read(files[0], bodies[0])}
    assert [body.is_closed for body in bodies] == [False, True]
    assert await ahead.take(files) == {}


async def test_what_nobody_asks_for_is_let_go_of() -> None:
    """Another batch, or the end of a run, takes the place of what was read."""
    file, body, closed = added(1), Body(), asyncio.Event()
    ahead = ReadAhead()
    ahead.begin([file], lambda: [read(file, body)])
    assert ahead._reading is not None
    reading = ahead._reading

    ahead.drop()

    reading.add_done_callback(lambda _: closed.set())
    await closed.wait()
    assert body.is_closed
    assert await ahead.take([file]) == {}
