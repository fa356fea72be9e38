"""Bodies on their way into the store leave nothing open behind."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.errors import ConnectionLostError, FileError, StoreError
from syncd.mail.message import facts_of
from syncd.store.bodies import bodies, encoding
from syncd.store.bodies.encoder import Encoder
from syncd.store.bodies.encoding import EncodedBody
from syncd.store.engine.database import Database
from syncd.store.tables.schema import server_message
from syncd.sync import body_batches
from syncd.sync.body_batches import BodyBatches, FetchedBody, FileSpool, encoded_on_thread
from syncd.sync.recent_bodies import RecentBodies
from tests.unit.store_trees.grove import Grove


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(f"sqlite:///{tmp_path}/syncd.db", auto_migrate=True)
    yield database
    database.close()


@pytest.fixture
def grove(db: Database) -> Grove:
    return Grove(db, "work")


async def test_bodies_of_several_mailboxes_are_committed_together_at_the_outermost_end(grove: Grove) -> None:
    """No mailbox waits for the bodies of the one before it, and each message has its own in the end."""
    (one,), (two,) = grove.plant_rows(1), grove.plant_rows(7, mailbox_id=grove.archive)
    commits: list[int] = []
    batches = bringing(grove.db, commits)

    async with batches:
        async with batches:
            await batches.put(FetchedBody(grove.inbox, one, b"Subject: one\r\n\r\n", 16))
        async with batches:
            await batches.put(FetchedBody(grove.archive, two, b"Subject: two\r\n\r\n", 16))
        assert commits == []
        assert batches.under_way() == {one, two}

    assert commits == [2]
    assert batches.under_way() == frozenset()
    assert bodies_of(grove, one, two) == [b"Subject: one\r\n\r\n", b"Subject: two\r\n\r\n"]


async def test_what_is_handed_over_is_committed_while_more_comes(grove: Grove) -> None:
    """What came first is not kept back for a batch to be full; what comes meanwhile makes the next one, and is told."""
    first, second, third = grove.plant_rows(1, 2, 3)
    commits: list[int] = []
    batches = bringing(grove.db, commits)

    async with batches:
        await batches.put(FetchedBody(grove.inbox, first, b"1", 1))
        await batches.hand_over()
        for number, id_ in enumerate((second, third)):
            await batches.put(FetchedBody(grove.inbox, id_, b"%d" % number, 1))
            await batches.hand_over()

    assert commits == [-1, 2]


async def test_what_is_handed_over_does_not_wait_for_the_next_body(grove: Grove) -> None:
    """A pass that goes on to list a large mailbox fetches nothing for a while; what it has is brought meanwhile."""
    first, second = grove.plant_rows(1, 2)
    commits: list[int] = []
    batches = bringing(grove.db, commits)

    async with batches:
        for id_ in (first, second):
            await batches.put(FetchedBody(grove.inbox, id_, b"%d" % id_, 1))
            await batches.hand_over()
        async with asyncio.timeout(5.0):
            while batches.under_way():  # noqa: ASYNC110 - a commit has no event
                await asyncio.sleep(0.001)

    assert commits == [-1, 1]


async def test_what_came_whole_is_committed_though_the_connection_ended(grove: Grove) -> None:
    """The next connection need not fetch it again."""
    (one,) = grove.plant_rows(1)
    commits: list[int] = []
    batches = bringing(grove.db, commits)

    async def fetch() -> None:
        async with batches:
            await batches.put(FetchedBody(grove.inbox, one, b"Subject: one\r\n\r\n", 16))
            raise ConnectionLostError("the server went away")

    with pytest.raises(ConnectionLostError):
        await fetch()

    assert commits == [1]


async def test_batch_that_cannot_be_stored_is_told_of_once_and_fetched_again(grove: Grove) -> None:
    """Its messages are under way no more, and what follows is stored."""
    (one,) = grove.plant_rows(1)
    commits: list[int] = []
    batches = bringing(grove.db, commits)

    with pytest.raises(StoreError):
        async with batches:
            await batches.put(FetchedBody(77_777, one, b"Subject: one\r\n\r\n", 16))  # there is no such mailbox
    assert batches.under_way() == frozenset()
    async with batches:
        await batches.put(FetchedBody(grove.inbox, one, b"Subject: one\r\n\r\n", 16))

    assert commits == [1]


async def test_what_goes_wrong_with_a_body_is_told_of_its_mailbox_alone(
    grove: Grove, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of bodies that came together it may be the fault of any, and then none is blamed; no pass ends because of it."""
    (good,), (bad,) = grove.plant_rows(1), grove.plant_rows(7, mailbox_id=grove.archive)
    commits: list[int] = []
    batches = bringing(grove.db, commits)
    encode = body_batches.encode_all

    def choosy(encoder: Encoder, contents: Sequence[bytes | Callable[[], EncodedBody]]) -> tuple[EncodedBody, ...]:
        if b"bad" in contents:
            raise ValueError("bad")
        return encode(encoder, contents)

    async def blamed(*fetched: FetchedBody) -> list[bool]:
        async with batches:
            for one in fetched:
                await batches.put(one)
        assert batches.under_way() == frozenset()
        return [batches.take_error(mailbox_id) is not None for mailbox_id in (grove.inbox, grove.archive)]

    monkeypatch.setattr(body_batches, "encode_all", choosy)
    of_inbox, of_archive = FetchedBody(grove.inbox, good, b"good", 4), FetchedBody(grove.archive, bad, b"bad", 3)

    assert await blamed(of_inbox, of_archive) == [False, False]
    assert [batches.take_failed_together(), batches.take_failed_together()] == [True, False]
    assert await blamed(of_inbox) == [False, False]
    assert await blamed(of_archive) == [False, True]
    assert (commits, batches.take_failed_together()) == ([1], False)


def bringing(db: Database, commits: list[int]) -> BodyBatches:
    """Return batches that note how many bodies each had, as a negative number where more are about to be committed."""
    return BodyBatches(
        db,
        encoder=Encoder(),
        recent=RecentBodies(),
        on_commit=lambda count, size_bytes, *, is_more_coming: commits.append(-count if is_more_coming else count),
        clock=float,
    )


def bodies_of(grove: Grove, *message_ids: int) -> list[bytes]:
    """Return the octets that the store has of messages."""
    rows = dict(grove.rows(select(server_message.c.id, server_message.c.body_id)))
    octets = grove.db.read_now(lambda conn: bodies.read_bodies(conn, rows.values()))
    return [octets[rows[id_]] for id_ in message_ids]


async def test_spools_of_an_interrupted_fetch_are_closed(db: Database, tmp_path: Path) -> None:
    """What was gathered and will not be committed holds no file open."""
    spool = FileSpool(tmp_path)
    spool.write(b"Subject: x\r\n\r\n")

    async def fetch() -> None:
        async with BodyBatches(db, encoder=Encoder(), recent=RecentBodies(), on_commit=print, clock=float) as batches:
            await batches.put(FetchedBody(1, 1, spool, 14))
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
