"""Bodies on their way into the store leave nothing open behind."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.errors import FileError
from syncd.mail.message import facts_of
from syncd.store import encoding
from syncd.store.database import Database
from syncd.store.encoder import Encoder
from syncd.store.encoding import EncodedBody
from syncd.sync.body_batches import BodyBatches, FetchedBody, FileSpool, encoded_on_thread
from syncd.sync.recent_bodies import RecentBodies


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(f"sqlite:///{tmp_path}/syncd.db", auto_migrate=True)
    yield database
    database.close()


async def test_spools_of_an_interrupted_fetch_are_closed(db: Database, tmp_path: Path) -> None:
    """What was gathered and will not be committed holds no file open."""
    spool = FileSpool(tmp_path)
    spool.write(b"Subject: x\r\n\r\n")

    async def fetch() -> None:
        async with BodyBatches(
            db, 1, encoder=Encoder(), recent=RecentBodies(), on_commit=print, clock=float
        ) as batches:
            await batches.put(FetchedBody(1, spool, 14))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fetch()

    with pytest.raises(ValueError, match="closed"):
        spool.write(b"more")


async def test_bodies_that_a_cancelled_task_had_encoded_are_closed() -> None:
    """A thread goes on after its task was cancelled; what it makes then is closed before the task ends."""
    began, may_end = threading.Event(), threading.Event()
    made: list[EncodedBody] = []

    def encode() -> tuple[EncodedBody, ...]:
        began.set()
        may_end.wait(5.0)
        made.append(encoding.encode(facts_of([b"Subject: x\r\n\r\n"]), [b"Subject: x\r\n\r\n"]))
        return tuple(made)

    task = asyncio.create_task(encoded_on_thread(encode))
    await asyncio.to_thread(began.wait, 5.0)
    task.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    (body,) = made
    with pytest.raises(ValueError, match="closed"):
        list(body.chunks())


def test_body_for_which_there_is_no_room_is_an_error_of_its_own_and_discarded_in_silence(tmp_path: Path) -> None:
    """What is in a buffer cannot be written, at the first try or when the file is closed."""
    spool, other = FileSpool(tmp_path), FileSpool(tmp_path)
    for one in (spool, other):
        one._file.close()
        one._file = Path("/dev/full").open("r+b")  # noqa: SIM115 - closed by the spool
        one.write(b"Subject: x\r\n\r\n")
    with pytest.raises(FileError, match="no space left"):
        spool.encoded()
    other.discard()
    assert (spool._file.closed, other._file.closed) == (True, True)
