"""Floor 3: the one thread that writes to the store, many small writes in one transaction.

Theory. A write is a function of a connection. The thread takes what is queued, runs it all in one transaction and
wakes the waiters after COMMIT, so a thousand writes asked for at once cost one flush of the disk. If one fails, the
transaction is rolled back and each is run again in one of its own, so that only the guilty one fails. A write may
therefore run more than once: its only effects are those on its connection.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from syncd.errors import StoreError
from syncd.log import log
from syncd.store.engine.changed_rows import ChangedRows
from syncd.store.engine.commit_times import CommitTimes
from syncd.store.engine.failures import UnknownOutcomeError, concerns_everybody, is_lost, is_transient, store_error

T = TypeVar("T")

BATCH_MAX_WRITES = 256
BATCH_MAX_BYTES = 8 * 1024 * 1024
RETRY_DELAYS_S = (0.1, 0.3, 1.0, 3.0)


class Write:
    """A write that waits for its turn, and where its outcome goes."""

    __slots__ = ("error", "function", "future", "loop", "result", "unremembered_rows", "weight_bytes")

    def __init__(
        self,
        function: Callable[[Connection], Any],
        *,
        weight_bytes: int,
        unremembered_rows: int = 0,
        future: "asyncio.Future[Any] | Future[Any]",
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.function = function
        self.weight_bytes = weight_bytes
        self.unremembered_rows = unremembered_rows
        self.future = future
        self.loop = loop
        self.result: Any = None
        self.error: BaseException | None = None


def nothing(_: Connection) -> None:
    """Write nothing: who asks for that waits for its turn only, and no transaction is begun for it alone."""


class Writer:
    """Run writes one batch after the other until closed; waiters may be on any event loop or thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self.written = 0
        """Another number as soon as a transaction changed a row that anybody remembers, whatever became of it."""
        self.changed_rows = ChangedRows()
        self.commit_times = CommitTimes()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def put(self, write: Write) -> None:
        """Queue a write; StoreError once the store is being closed."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("a write inside a write would wait for itself")
        with self._lock:
            if self._closing.is_set():
                raise StoreError("the store is closed")
            self._queue.put(write)

    def close(self) -> None:
        """Take no more writes, commit those that are queued, and end the thread."""
        with self._lock:
            if not self._closing.is_set():
                self._closing.set()
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        for batch in self._batches():
            if any(write.function is not nothing for write in batch):
                self._write_all(batch)
            _wake(batch)

    def _batches(self) -> Iterator[list[Write]]:
        while (write := self._queue.get()) is not None:
            batch, weight, is_last = [write], write.weight_bytes, False
            while len(batch) < BATCH_MAX_WRITES and weight < BATCH_MAX_BYTES:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    is_last = True
                    break
                batch.append(following)
                weight += following.weight_bytes
            yield batch
            if is_last:
                return

    def _write_all(self, batch: Sequence[Write]) -> None:
        error = self._error_of(batch)
        is_settled = error is None or len(batch) == 1
        for write in batch:
            if not is_settled and not (error and concerns_everybody(error)):
                error = self._error_of([write])
            write.error = error

    def _error_of(self, batch: Sequence[Write]) -> BaseException | None:
        try:
            self._commit(batch)
        except BaseException as error:  # it belongs to whoever asked for the write, not to this thread
            return error
        return None

    def _commit(self, batch: Sequence[Write]) -> None:
        """Run a batch in one transaction, several times if the database is busy or away for a moment."""
        for delay_s in RETRY_DELAYS_S:
            try:
                return self._commit_once(batch)
            except SQLAlchemyError as error:
                if not is_transient(error):
                    raise
                log.info("store_write_retried", error=str(store_error(error)))
                self._closing.wait(delay_s)
        return self._commit_once(batch)

    def _commit_once(self, batch: Sequence[Write]) -> None:
        with self._engine.connect() as connection:
            self.changed_rows.begin(connection, self.written)
            transaction, changes, is_told = connection.begin(), _rows_changed(connection), False
            try:
                for write in batch:
                    before = _rows_changed(connection)
                    write.result = write.function(connection)
                    after = _rows_changed(connection)
                    is_told |= before is None or after is None or after - before > write.unremembered_rows
            except BaseException:
                transaction.rollback()
                raise
            is_changed = changes is None or _rows_changed(connection) != changes
            self.changed_rows.commit(self.written + 1)
            try:
                began = time.perf_counter()
                transaction.commit()
                if is_changed:
                    self.commit_times.add(time.perf_counter() - began)
            except SQLAlchemyError as error:
                if is_lost(error):
                    # NOTE: the server may have committed before it went away; running the batch again could repeat it.
                    raise UnknownOutcomeError("the database went away during a commit") from None
                transaction.rollback()
                raise
            finally:
                self.written += is_told  # before anybody hears of it


def _rows_changed(connection: Connection) -> int | None:
    """Return how many rows the driver has changed so far; None where it does not count."""
    return getattr(connection.connection.driver_connection, "total_changes", None)


def retrying(run: Callable[[], T]) -> T:
    """Return what `run` does, tried again while the database is busy or away for a moment; for reading only."""
    for delay_s in RETRY_DELAYS_S:
        try:
            return run()
        except SQLAlchemyError as error:
            if not is_transient(error):
                raise
            time.sleep(delay_s)
    return run()


def _wake(batch: Sequence[Write]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Write]] = {}
    for write in batch:
        if isinstance(write.error, SQLAlchemyError):
            write.error = store_error(write.error)
        if write.loop is None:
            _resolve([write])
        else:
            by_loop.setdefault(write.loop, []).append(write)
    for loop, writes in by_loop.items():
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, writes)


def _resolve(writes: Sequence[Write]) -> None:
    for write in writes:
        if write.future.done():  # its waiter was cancelled
            if write.error is not None:
                log.warning("store_write_failed_unheard", error=type(write.error).__name__)
        elif write.error is None:
            write.future.set_result(write.result)
        elif isinstance(write.error, StopIteration):
            # NOTE: a future refuses to carry it
            write.future.set_exception(RuntimeError("a write raised StopIteration"))
        else:
            write.future.set_exception(write.error)
