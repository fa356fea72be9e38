"""Floor 4: bodies on their way from a server into the store: gathered to batches, encoded on a thread, committed."""

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from sqlalchemy import Connection

from syncd.errors import FileError, Reach, SyncdError, no_room
from syncd.mail.message import BodyReader
from syncd.store.bodies import bodies
from syncd.store.bodies.encoder import Encoder
from syncd.store.bodies.encoding import CHUNK_BYTES, EncodedBody, encode, encode_octets
from syncd.store.engine.database import Database
from syncd.store.trees import troubles
from syncd.store.trees.server_tree import bind_bodies
from syncd.sync.recent_bodies import RecentBodies
from syncd.values import Opaque, replace

_BATCH_BYTES = 4 * 1024 * 1024
_BATCH_BODIES = 1000
_OF_MAILBOXES = {Reach.MESSAGE, Reach.MAILBOX}


class FileSpool:
    """Keep one large body in an unnamed file, and gather its facts as it arrives."""

    def __init__(self, directory: Path | None) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed by `discard`
        self._reader = BodyReader()

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._reader.feed(piece)

    def discard(self) -> None:
        with suppress(OSError):  # to close it writes what is still in its buffer, for which there may be no room
            self._file.close()

    def encoded(self) -> EncodedBody:
        """Return the body as the store wants it, and forget the file."""
        try:
            try:
                self._file.seek(0)  # writes what is still in its buffer
            except OSError as error:
                raise FileError(no_room(error), reach=Reach.ACCOUNT) from error
            pieces = iter(lambda: self._file.read(CHUNK_BYTES), b"")
            return encode(self._reader.facts(), pieces)
        finally:
            self.discard()


class FetchedBody(Opaque):
    """A body for a message of the server tree."""

    mailbox_id: int
    message_id: int
    content: bytes | FileSpool
    size_bytes: int


class OnCommit(Protocol):
    """Hear how many messages, and of which size together, have bodies by now, and whether more are about to."""

    def __call__(self, count: int, size_bytes: int, *, is_more_coming: bool = False) -> None: ...


class BodyBatches:
    """Commit the bodies of one account in batches, whatever mailboxes they are of, while the next are fetched.

    Use it as an async context, also one inside another. What is left is committed at the end of the outermost, after
    an error of ours as well, for what came whole is whole; after any other, nothing is.

    Theory. One batch is gathered, one is encoded, by another process if it is large, and one is written. Each waits for
    the one before it only when it is done itself, so that none of the three is idle while there is something to fetch.
    What goes wrong with a batch and reaches no further than a mailbox is kept for the step of that mailbox
    (`take_error`), for it may be another's that is done just then. Where it may be the fault of any of several
    mailboxes, their bodies are to be fetched again, of each mailbox in a context of its own (`take_failed_together`).
    """

    def __init__(
        self,
        db: Database,
        *,
        encoder: Encoder,
        recent: RecentBodies,
        on_commit: OnCommit,
        clock: Callable[[], float],
    ) -> None:
        """Call `on_commit` after each batch."""
        self._db = db
        self._encoder = encoder
        self._recent = recent
        self._on_commit = on_commit
        self._clock = clock
        self._depth = 0
        self._gathered: list[FetchedBody] = []
        self._size_bytes = 0
        self._is_handed_over = False
        self._encoding: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._under_way: set[int] = set()
        self._errors: dict[int, Exception] = {}
        self._has_failed_together = False

    def under_way(self) -> frozenset[int]:
        """Return the messages whose bodies came and are not committed yet."""
        return frozenset(self._under_way)

    def take_error(self, mailbox_id: int) -> Exception | None:
        """Return once what went wrong with bodies of a mailbox, which are to be fetched again."""
        return self._errors.pop(mailbox_id, None)

    def take_failed_together(self) -> bool:
        """Tell once whether bodies of several mailboxes could not be stored together."""
        has_failed, self._has_failed_together = self._has_failed_together, False
        return has_failed

    def expect(self, size_bytes: int) -> None:
        """Hear how much is about to come, so that what encodes it is ready by then."""
        self._encoder.expect(size_bytes)

    async def put(self, body: FetchedBody) -> None:
        """Take a body; waits while a batch is full and the one before is not written or about to be."""
        self._gathered.append(body)
        self._under_way.add(body.message_id)
        self._size_bytes += body.size_bytes
        if self._size_bytes >= _BATCH_BYTES or len(self._gathered) >= _BATCH_BODIES:
            await self._flush()

    async def hand_over(self) -> None:
        """Begin to commit what was gathered, as soon as what is under way before it is encoded, whatever comes then."""
        if self._encoding is None or self._encoding.done():
            await self._flush()
        else:
            self._is_handed_over = True

    async def settle(self) -> None:
        """Commit what was gathered, and return when all is."""
        await self._flush()
        await self._encoded()
        await self._written()

    async def __aenter__(self) -> Self:
        self._depth += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth:
            return
        try:
            if error is None:
                await self.settle()
            elif isinstance(error, SyncdError):
                with suppress(SyncdError):  # the first error is the one that tells most
                    await self.settle()
        finally:
            await self._abandon()

    async def _abandon(self) -> None:
        """Wait for what is under way, whatever becomes of it, and let go of what was gathered."""
        _discard(self._taken())
        for wait in (self._encoded, self._written):
            with suppress(Exception):
                await wait()
        self._under_way.clear()

    async def _flush(self) -> None:
        await self._encoded()
        if batch := self._taken():
            self._encoding = asyncio.create_task(self._encode(batch))

    def _taken(self) -> list[FetchedBody]:
        """Return what was gathered, which is a batch now."""
        batch, self._gathered, self._size_bytes, self._is_handed_over = self._gathered, [], 0, False
        return batch

    async def _encoded(self) -> None:
        """Wait until a batch is encoded and handed on; what goes wrong with it is raised once."""
        task, self._encoding = self._encoding, None
        if task is not None:
            await task

    async def _written(self) -> None:
        task, self._writing = self._writing, None
        if task is not None:
            await task

    async def _encode(self, batch: list[FetchedBody]) -> None:
        """Encode a batch, and begin to write it when the one before is written; then what was handed over meanwhile."""
        while batch:
            try:
                self._writing = asyncio.create_task(self._commit(batch, await self._encoded_in_turn(batch)))
            except Exception as error:
                self._blame(batch, error)
            batch = self._taken() if self._is_handed_over else []

    async def _encoded_in_turn(self, batch: list[FetchedBody]) -> Sequence[EncodedBody]:
        """Return a batch encoded, once the one before is written and there is room for what devices take of it."""
        encoded: Sequence[EncodedBody] = ()
        try:
            contents = [body.content if isinstance(body.content, bytes) else body.content.encoded for body in batch]
            encoded = await encoded_on_thread(partial(encode_all, self._encoder, contents))
            contents.clear()
            batch[:] = map(_without_octets, batch)  # of which there are two other forms by now
            await self._written()
            await self._recent.room(sum(len(one.for_file) for one in encoded if one.for_file is not None))
        except BaseException:
            _close(encoded)
            self._forget(batch)
            raise
        return encoded

    async def _commit(self, batch: Sequence[FetchedBody], encoded: Sequence[EncodedBody]) -> None:
        try:
            weight_bytes = sum(one.stored_bytes for one in encoded)
            ids = await self._db.write(lambda conn: self._write(conn, batch, encoded), weight_bytes=weight_bytes)
        except Exception as error:
            self._blame(batch, error)
            return
        finally:
            _close(encoded)
            self._forget(batch)
        for body_id, one in zip(ids, encoded, strict=True):
            if one.for_file is not None:
                self._recent.put(body_id, one.for_file)
        size_bytes = sum(body.size_bytes for body in batch)
        self._on_commit(len(batch), size_bytes, is_more_coming=bool(self._under_way))

    def _write(self, conn: Connection, batch: Sequence[FetchedBody], encoded: Sequence[EncodedBody]) -> tuple[int, ...]:
        ids = bodies.put_bodies(conn, encoded, now=self._clock())
        by_mailbox: dict[int, dict[int, int]] = {}
        for body, body_id in zip(batch, ids, strict=True):
            by_mailbox.setdefault(body.mailbox_id, {})[body.message_id] = body_id
        for mailbox_id, of_messages in by_mailbox.items():
            bind_bodies(conn, mailbox_id, of_messages)
        troubles.resolve(conn, [body.message_id for body in batch], device_id=None)
        return ids

    def _blame(self, batch: Iterable[FetchedBody], error: Exception) -> None:
        """Keep an error for the mailbox of a batch, if it has only one; what reaches further is raised."""
        if isinstance(error, SyncdError) and error.reach not in _OF_MAILBOXES:
            raise error
        mailbox_ids = {body.mailbox_id for body in batch}
        if len(mailbox_ids) == 1:
            self._errors[mailbox_ids.pop()] = error
        else:
            self._has_failed_together = True

    def _forget(self, batch: Iterable[FetchedBody]) -> None:
        """Have a batch under way no more: it is committed, or will be fetched again."""
        _discard(batch)
        self._under_way.difference_update(body.message_id for body in batch)


def _without_octets(body: FetchedBody) -> FetchedBody:
    return replace(body, content=b"") if isinstance(body.content, bytes) else body


def _discard(bodies_left: Iterable[FetchedBody]) -> None:
    for body in bodies_left:
        if isinstance(body.content, FileSpool):
            body.content.discard()


def encode_all(encoder: Encoder, contents: Sequence[bytes | Callable[[], EncodedBody]]) -> tuple[EncodedBody, ...]:
    """Return bodies as the store wants them, in their order; what is not in memory says itself how it is encoded."""
    small = iter(encoder.encode([content for content in contents if isinstance(content, bytes)]))
    made: list[EncodedBody] = []
    try:
        for content in contents:
            made.append(next(small) if isinstance(content, bytes) else content())  # noqa: PERF401 - closed below
    except BaseException:
        _close(made)
        raise
    return tuple(made)


async def encoded_on_thread(encode: Callable[[], tuple[EncodedBody, ...]]) -> tuple[EncodedBody, ...]:
    """Return what `encode` makes on a thread; the caller closes it."""
    work = asyncio.ensure_future(asyncio.to_thread(encode))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        # NOTE: a thread cannot be cancelled, and what it still makes holds files open.
        work.add_done_callback(_close_made)
        await asyncio.wait((work,))
        raise


def _close_made(work: "asyncio.Future[tuple[EncodedBody, ...]]") -> None:
    if not work.cancelled() and work.exception() is None:
        _close(work.result())


def _close(made: Iterable[EncodedBody]) -> None:
    for one in made:
        one.close()


async def encoded(content: bytes | FileSpool) -> EncodedBody:
    """Return one body as the store wants it; the caller closes it."""
    (body,) = await encoded_on_thread(
        lambda: (encode_octets(content) if isinstance(content, bytes) else content.encoded(),)
    )
    return body
