"""Floor 3: the store as the rest of syncd sees it: opened by one owner, written by one thread, read by a few."""

import asyncio
import os
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from sqlalchemy import Connection, Engine

from syncd.errors import StoreError
from syncd.store.engine import engines, migrate
from syncd.store.engine.changed_rows import ChangedRow, Topic
from syncd.store.engine.commit_times import CommitTimes
from syncd.store.engine.failures import translated
from syncd.store.engine.owner import (
    FileOwner,
    last_used_at,
    make_private_directory,
    make_private_file,
    no_store,
    refuse_stranger,
    take_postgres_lock,
    unreadable,
)
from syncd.store.engine.writer import Write, Writer, nothing, retrying

T = TypeVar("T")

_READERS = 3


class Database:
    """Run functions of a connection on the store, `write` in its one writer thread, `read` in its reader threads.

    A function may run more than once, if the database was busy or another write of the same transaction failed: it
    has no effect but on its connection. What it raises reaches its caller; errors of the database come as StoreError.
    """

    def __init__(self, reader: Engine, *, writer: Engine | None, owner: FileOwner | None, readers: int) -> None:
        """Use `open` or `open_readonly`."""
        self._reader_engine = reader
        self._writer_engine = writer
        self._owner = owner
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="store-reader")
        self._writer = Writer(writer) if writer is not None else None

    @classmethod
    def open(cls, url: str, *, auto_migrate: bool | None = None, readers: int = _READERS) -> Self:
        """Become the owner of a store, made or upgraded if need be; blocks, so call it off the event loop.

        auto_migrate: None upgrades a SQLite file, and refuses a PostgreSQL database that needs it. StoreBusyError if
        another syncd owns the store, StoreVersionError if its schema is not one this syncd can use now.
        """
        parsed = engines.parse_url(url)
        path = engines.sqlite_path(parsed)
        owner = None
        if path is not None:
            make_private_directory(path.parent)
            refuse_stranger(path, may_be_missing=True)  # root could: what it delivered, the owner could not touch
            owner = FileOwner(path)
        opened: list[Engine] = []
        try:
            with translated():
                if path is not None:
                    make_private_file(path)
                opened.append(engines.writer_engine(parsed, on_connect=None if path else take_postgres_lock))
                with opened[0].connect() as conn:  # on PostgreSQL this is where the owner is decided
                    is_at_head = migrate.is_at_head(conn)
                if not is_at_head:
                    may_upgrade = path is not None if auto_migrate is None else auto_migrate
                    migrate.bring_to_head(parsed, may_upgrade=may_upgrade)
                opened.append(engines.reader_engine(parsed, connections=readers))
                opened[1].connect().close()
        except BaseException:
            for engine in opened:
                engine.dispose()
            if owner is not None:
                owner.release()
            raise
        return cls(opened[1], writer=opened[0], owner=owner, readers=readers)

    @classmethod
    def open_readonly(cls, url: str) -> Self:
        """Look at a store, beside its owner if there is one; makes and changes nothing.

        StoreError if there is no store or its file may not be read, StoreVersionError if its schema is another.
        """
        parsed = engines.parse_url(url)
        path = engines.sqlite_path(parsed)
        if path is not None:
            _refuse_unreadable(path)
        engine = engines.observer_engine(parsed)
        try:
            with translated():
                migrate.refuse_other_version(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, writer=None, owner=None, readers=1)

    @staticmethod
    def last_used_at(url: str) -> float | None:
        """Return when somebody owned a store last, or wrote to it; None where that cannot be told."""
        path = engines.sqlite_path(engines.parse_url(url))
        return None if path is None else last_used_at(path)

    async def write(
        self, function: Callable[[Connection], T], *, weight_bytes: int = 0, unremembered_rows: int = 0
    ) -> T:
        """Return what `function` returned, once it is durable.

        weight_bytes: about how much it writes, if that is much: heavy writes share no transaction. A waiter that is
        cancelled does not undo its write. unremembered_rows: so many of the rows that it surely changes are no reason
        to read anything anew, and `writes` does not count them.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._put(
            Write(function, weight_bytes=weight_bytes, unremembered_rows=unremembered_rows, future=future, loop=loop)
        )
        return await future

    def write_now(self, function: Callable[[Connection], T], *, weight_bytes: int = 0) -> T:
        """Do what `write` does, for a thread without an event loop."""
        future: Future[T] = Future()
        self._put(Write(function, weight_bytes=weight_bytes, future=future, loop=None))
        return future.result()

    async def answered(self) -> None:
        """Return once the writer thread has ended what was asked of it before, well or not; the store is left alone."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._put(Write(nothing, weight_bytes=0, future=future, loop=loop))
        await future

    @property
    def writes(self) -> int | None:
        """Return a number that is another one as soon as something was written; None where others may write."""
        return self._writer.written if self._writer is not None else None

    def changed_since(self, writes: int) -> frozenset[ChangedRow] | None:
        """Return which rows of some tables were written since `writes` was this number; None: it may be any.

        Call it in a read, after its first statement: then nothing is missing that the others see. Where it names no row
        outside of one, all of them are as they were when `writes` was this number.
        """
        return self._writer.changed_rows.since(writes) if self._writer is not None else None

    def has_changed(self, what: Collection[Topic | ChangedRow], *, since: int) -> bool:
        """Tell whether any of these may have been written since `writes` was this number, or is just being committed.

        If not, what was read of them since then is what would be read now.
        """
        return self._writer is None or self._writer.changed_rows.has_changed(what, since)

    @property
    def commit_times(self) -> CommitTimes:
        """Return how long the commits took; of a store that is open for reading only there are none."""
        return self._writer.commit_times if self._writer is not None else CommitTimes()

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Return what `function` returns of one snapshot of the store; it must take no iterator out of it."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, function)

    def read_now(self, function: Callable[[Connection], T], /) -> T:
        """Do what `read` does, in the calling thread."""

        def run() -> T:
            with self._reader_engine.begin() as connection:
                return function(connection)

        with translated():
            return retrying(run)

    def close(self) -> None:
        """Commit what is queued, end the threads, and let go of the store; blocks."""
        if self._writer is not None:
            self._writer.close()
        self._readers.shutdown(wait=True)
        self._reader_engine.dispose()
        if self._writer_engine is not None:
            self._writer_engine.dispose()  # NOTE: last, because the last connection to close checkpoints
        if self._owner is not None:
            self._owner.release()
            self._owner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, write: Write) -> None:
        if self._writer is None:
            raise StoreError("the store is open for reading only")
        self._writer.put(write)


def _refuse_unreadable(path: Path) -> None:
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise no_store(path) from None
    except OSError as error:
        raise unreadable(path, error) from error
    # NOTE: where nobody else has it open, SQLite makes files beside it that others may not: what it says of that
    # is no help. For root it gives them to the owner.
    if os.geteuid() != 0:
        refuse_stranger(path)
