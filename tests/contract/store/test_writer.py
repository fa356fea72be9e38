"""Writes: grouped, fair to each other, and never lost once acknowledged."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import pytest
from sqlalchemy import Connection, Engine, event, text

from syncd.daemon.monitoring import health
from syncd.errors import Reach, StoreError
from syncd.store.engine import writer as writer_module
from syncd.store.engine.database import Database
from tests.contract.store.rows import add, names


@contextmanager
def counted_commits() -> Iterator[list[int]]:
    """Yield a list that gets longer by one with each COMMIT of any engine."""
    commits: list[int] = []

    def count(_: Connection) -> None:
        commits.append(1)

    event.listen(Engine, "commit", count)
    try:
        yield commits
    finally:
        event.remove(Engine, "commit", count)


@contextmanager
def held_writer(database: Database) -> Iterator[None]:
    """Keep the writer busy with one write, so that all that is asked for meanwhile queues up."""
    began, released = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        began.set()
        released.wait(30)

    waiter = threading.Thread(target=database.write_now, args=(hold,))
    waiter.start()
    assert began.wait(30)
    try:
        yield
    finally:
        released.set()
        waiter.join()


async def test_writer_answers_when_it_has_ended_what_came_before_and_writes_nothing(database: Database) -> None:
    """Whoever asks whether the thread still turns is no write: none is begun, and nobody at rest is disturbed."""
    with counted_commits() as commits:
        before = database.writes
        await database.answered()
        assert before == database.writes
        with held_writer(database):
            answered = asyncio.ensure_future(database.answered())
            await asyncio.to_thread(lambda: None)
            assert not answered.done()
        await answered

    assert len(commits) == 1, "that of the write that held the writer"


async def test_question_whether_the_store_answers_is_no_write(database: Database) -> None:
    """Or a probe every few seconds would end the rest of a daemon with nothing to do."""
    before = database.writes

    await health.check(database)

    assert database.writes == before


async def test_writes_asked_for_together_share_commits(database: Database) -> None:
    """A thousand writes at once cost a handful of flushes."""
    with counted_commits() as commits:
        written = await asyncio.gather(*(database.write(add(f"a{n}")) for n in range(1000)))

    assert [f"a{n}" for n in range(1000)] == written
    assert set(written) == await database.read(names)
    assert len(commits) < 100


async def test_heavy_writes_share_no_transaction(database: Database) -> None:
    """Bodies by the megabyte do not pile up in one transaction."""
    with counted_commits() as commits:
        weight = writer_module.BATCH_MAX_BYTES
        await asyncio.gather(*(database.write(add(f"a{n}"), weight_bytes=weight) for n in range(5)))

    assert len(commits) == 5


async def test_a_write_that_fails_fails_alone(database: Database) -> None:
    """What else was in its transaction is written all the same, and only once."""
    await database.write(add("there"))

    with counted_commits() as commits:
        with held_writer(database):
            tasks = [asyncio.create_task(database.write(add(name))) for name in ("a", "there", "b", "c")]
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert [outcome for outcome in outcomes if isinstance(outcome, str)] == ["a", "b", "c"]
    assert isinstance(outcomes[1], StoreError)
    assert outcomes[1].reach == Reach.MAILBOX
    assert {"there", "a", "b", "c"} == await database.read(names)
    assert len(commits) == 4  # the one that held, and three singly


async def test_an_error_of_the_function_itself_reaches_its_caller(database: Database) -> None:
    """Errors that are not the database's pass unchanged, and the write is undone."""

    def fail(conn: Connection) -> None:
        add("a")(conn)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await database.write(fail)
    assert set() == await database.read(names)


async def test_a_function_that_raises_stop_iteration_leaves_nobody_waiting(database: Database) -> None:
    """An exception that futures refuse does not hang its waiter."""
    with pytest.raises(RuntimeError, match="StopIteration"):
        async with asyncio.timeout(10):
            await database.write(lambda _: next(iter(())))


async def test_a_write_inside_a_write_is_refused(database: Database) -> None:
    """The writer would wait for itself for ever."""
    with pytest.raises(RuntimeError, match="inside a write"):
        async with asyncio.timeout(10):
            await database.write(lambda _: database.write_now(add("a")))


async def test_a_cancelled_waiter_does_not_undo_its_write(database: Database) -> None:
    """Cancelling stops the waiting, not the writing."""
    with held_writer(database):
        task = asyncio.create_task(database.write(add("a")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await database.write(lambda _: None)

    assert {"a"} == await database.read(names)


def test_close_writes_what_is_queued(store_url: str) -> None:
    """Nothing that was asked for before `close` is dropped, also by a loop that is gone since."""

    async def ask(database: Database) -> None:
        for n in range(300):
            asyncio.ensure_future(database.write(add(f"a{n}"))).add_done_callback(
                lambda task: task.cancelled() or task.exception()
            )
        await asyncio.sleep(0)

    database = Database.open(store_url, auto_migrate=True)
    with held_writer(database):
        asyncio.run(ask(database))
    database.close()

    with Database.open(store_url) as again:
        assert len(again.read_now(names)) == 300
    with pytest.raises(StoreError, match="closed"):
        database.write_now(add("late"))


def test_acknowledged_writes_outlive_kill_9(store_url: str) -> None:
    """What a caller was told is durable is there after the process was killed between any two instructions."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.store.process", "write", store_url], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        acknowledged = [line.strip() for line in islice(process.stdout, 500)]
        process.kill()
        acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]

    with Database.open(store_url) as database:
        assert len(acknowledged) >= 500
        assert set(acknowledged) <= database.read_now(names)
        if store_url.startswith("sqlite"):
            assert database.read_now(lambda conn: conn.execute(text("PRAGMA integrity_check")).scalar()) == "ok"
