"""Floor 4: bodies on their way from a server into the store: gathered to batches, encoded on a thread, committed."""

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from sqlalchemy import Connection

from syncd.errors import FileError, Reach, no_room
from syncd.mail.message import BodyReader
from syncd.store import bodies, troubles
from syncd.store.database import Database
from syncd.store.encoder import Encoder
from syncd.store.encoding import CHUNK_BYTES, EncodedBody, encode, encode_octets
from syncd.store.server_tree import bind_bodies
from syncd.sync.batch import BATCH_BYTES
from syncd.sync.recent_bodies import RecentBodies

_BATCH_BODIES = 1000


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


@dataclass(frozen=True, slots=True, repr=False)
class FetchedBody:
    """A body for a message of the server tree."""

    message_id: int
    content: bytes | FileSpool
    size_bytes: int


class BodyBatches:
    """Commit bodies of one mailbox in batches of 8 MB; while one is committed the next is gathered.

    Use it as an async context: what is left is committed at the end, and nothing after an error.
    """

    def __init__(
        self,
        db: Database,
        mailbox_id: int,
        *,
        encoder: Encoder,
        recent: RecentBodies,
        on_commit: Callable[[int, int], None],
        clock: Callable[[], float],
    ) -> None:
        """Call `on_commit` with the number and the size of messages after each batch."""
        self._db = db
        self._mailbox_id = mailbox_id
        self._encoder = encoder
        self._recent = recent
        self._on_commit = on_commit
        self._clock = clock
        self._gathered: list[FetchedBody] = []
        self._size_bytes = 0
        self._commit: asyncio.Task[None] | None = None

    async def put(self, body: FetchedBody) -> None:
        """Take a body; waits when two batches are full."""
        self._gathered.append(body)
        self._size_bytes += body.size_bytes
        if self._size_bytes >= BATCH_BYTES or len(self._gathered) >= _BATCH_BODIES:
            await self._flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._flush()
            if self._commit is not None:
                await self._commit
        finally:
            _discard(self._gathered)

    async def _flush(self) -> None:
        if self._commit is not None:
            await self._commit
        batch, self._gathered, self._size_bytes = tuple(self._gathered), [], 0
        self._commit = asyncio.create_task(self._committed(batch)) if batch else None

    async def _committed(self, batch: Sequence[FetchedBody]) -> None:
        try:
            await self._recent.room()
            contents = [body.content if isinstance(body.content, bytes) else body.content.encoded for body in batch]
            encoded = await encoded_on_thread(partial(encode_all, self._encoder, contents))
        except BaseException:
            _discard(batch)
            raise
        try:
            weight_bytes = sum(one.stored_bytes for one in encoded)
            ids = await self._db.write(lambda conn: self._write(conn, batch, encoded), weight_bytes=weight_bytes)
        finally:
            for one in encoded:
                one.close()
        for body_id, body in zip(ids, batch, strict=True):
            if isinstance(body.content, bytes):
                self._recent.put(body_id, body.content)
        self._on_commit(len(batch), sum(body.size_bytes for body in batch))

    def _write(self, conn: Connection, batch: Sequence[FetchedBody], encoded: Sequence[EncodedBody]) -> tuple[int, ...]:
        ids = bodies.put_bodies(conn, encoded, now=self._clock())
        message_ids = [body.message_id for body in batch]
        bind_bodies(conn, self._mailbox_id, dict(zip(message_ids, ids, strict=True)))
        troubles.resolve(conn, message_ids, device_id=None)
        return ids


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
        for body in made:
            body.close()
        raise
    return tuple(made)


async def encoded_on_thread(encode: Callable[[], tuple[EncodedBody, ...]]) -> tuple[EncodedBody, ...]:
    """Return what `encode` makes on a thread; the caller closes it."""
    work = asyncio.ensure_future(asyncio.to_thread(encode))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        # NOTE: a thread cannot be cancelled, and what it still makes holds files open.
        work.add_done_callback(_close)
        await asyncio.wait((work,))
        raise


def _close(work: "asyncio.Future[tuple[EncodedBody, ...]]") -> None:
    if not work.cancelled() and work.exception() is None:
        for one in work.result():
            one.close()


async def encoded(content: bytes | FileSpool) -> EncodedBody:
    """Return one body as the store wants it; the caller closes it."""
    (body,) = await encoded_on_thread(
        lambda: (encode_octets(content) if isinstance(content, bytes) else content.encoded(),)
    )
    return body
