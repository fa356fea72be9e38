"""Floor 3: bodies by pipelined batches, bounded in bytes, each UID with an outcome of its own.

Theory. One part of each message is asked for: of bodies the whole. Batches of UIDs are asked for until the window is
full; the answers are matched by UID whichever command they come in, because servers interleave them. A UID counts as
absent only when its own batch has ended in OK and every batch that was in flight at that moment has ended as well. A
batch that ends in NO is asked again UID by UID. What is asked in the same round trip as SELECT counts for nothing until
that has succeeded: refused, all behind it is refused as well, or is of the mailbox before.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from enum import StrEnum

from syncd.errors import Reach, RefusedError, SyncdError
from syncd.imap.answers.refusals import refusal, said
from syncd.imap.commands.session import Session, SinkFactory
from syncd.imap.types import Fetched, Octets, Section, SpooledLiteral, Tagged, Untagged
from syncd.imap.wire.spool import Spool, SpoolWriter
from syncd.imap.wire.tokenizer import LiteralSink
from syncd.mail.uidset import UidSet
from syncd.values import Opaque, Record, Value

WINDOW_BYTES = 4 * 1024 * 1024
_BATCH_UIDS = 100
_BATCH_BYTES = 512 * 1024
_REFUSED_MAX = 100
"""So many refusals without one body between them speak of the mailbox, not of messages."""


class Wanted(Value):
    """A body to fetch; size_bytes is what the server said, and only steers the window."""

    uid: int
    size_bytes: int


class Body(Opaque):
    """All octets of a body: in memory, or in a spool that now belongs to the reader."""

    uid: int
    content: bytes | Spool
    size_bytes: int


class Lack(StrEnum):
    """Why there is no body: it was answered with NIL, not answered at all (expunged?), or answered with NO."""

    NIL = "nil"
    ABSENT = "absent"
    REFUSED = "refused"


class NoBody(Value):
    """A body that did not come; the other UIDs are not concerned."""

    uid: int
    lack: Lack
    text: str = ""


SelectFirst = Callable[[], Awaitable[bool]]
"""Send a SELECT, and tell whether what is asked in the same round trip is of its mailbox; raises why nothing is."""


def fetch_bodies(
    session: Session,
    wanted: Iterable[Wanted],
    *,
    came: Iterable[Body] = (),
    spool: Callable[[int], Spool],
    window_bytes: int,
    selecting: SelectFirst | None = None,
) -> AsyncGenerator[Body | NoBody, None]:
    """Yield an outcome for each wanted UID, and those that came already; see `ImapConnection.fetch_bodies`."""
    stream = PartStream(session, wanted, WHOLE, window_bytes, came=came, selecting=selecting)
    return stream.outcomes(lambda size_bytes: stream.open_spool(size_bytes, spool))


class Part(Value):
    """What to ask of a message, and how answers name it: origins has None where they need not name any."""

    request: bytes
    section: str
    origins: frozenset[int | None]


WHOLE = Part(b"BODY.PEEK[]", "", frozenset({None}))


class _Batch(Record, eq=False):
    """weight_bytes: what its bodies may take up in memory."""

    uids: UidSet
    size_bytes: int
    weight_bytes: int


class _Unanswered(Record, eq=False):
    """UIDs that an ended batch left open, and the batches whose answers may still hold them."""

    uids: UidSet
    behind: set[_Batch]


class PartStream:
    """Fetch one part of each wanted message; see the module's theory."""

    def __init__(
        self,
        session: Session,
        wanted: Iterable[Wanted],
        part: Part,
        window_bytes: int,
        *,
        came: Iterable[Body] = (),
        selecting: SelectFirst | None = None,
        behind: Callable[[], None] | None = None,
    ) -> None:
        """Yield what came already once the others are asked for.

        behind: called when all are asked for, to ask for what is of another mailbox. What was to be asked for again has
        no outcome then.
        """
        self._session = session
        self._selecting = selecting
        self._behind = behind
        self._is_left = False
        self._part = part
        self._window_bytes = window_bytes
        self._batches = _batches(wanted, session.limits.memory_literal_max_bytes)
        self._again: deque[_Batch] = deque()
        self._next: _Batch | None = None
        self._in_flight: dict[_Batch, asyncio.Task[Tagged]] = {}
        self._unanswered: list[_Unanswered] = []
        self._open: dict[int, int] = {}
        self._answered: set[int] = set()
        self._asked_bytes = 0
        self._writers: dict[SpoolWriter, int] = {}
        self._ready: deque[tuple[Body | NoBody, int]] = deque((body, 0) for body in came)
        self._refused = 0
        self._error: BaseException | None = None
        self._is_void = False
        """Whether what was asked was asked of no mailbox, or of another one; what it brought is forgotten."""
        self._changed = asyncio.Event()

    async def outcomes(self, sinks: SinkFactory) -> AsyncGenerator[Body | NoBody, None]:
        """Yield an outcome for each wanted UID; sinks: where literals go that are too large for memory."""
        with self._session.spooling(sinks), self._session.collecting(self):
            try:
                if self._selecting is not None:
                    await self._select(self._selecting)
                while (outcome := await self._outcome()) is not None:
                    yield outcome
            finally:
                await self._close()

    async def _select(self, selecting: SelectFirst) -> None:
        """Ask for the first bodies behind a SELECT; unless that succeeds, wait only until all is answered."""
        begun = asyncio.ensure_future(selecting())
        begun.add_done_callback(lambda _: self._changed.set())
        self._fill()
        try:
            while not begun.done():
                # NOTE: as much as this is none of what was asked for. Kept, it would stop the wire before SELECT ends.
                self._is_void |= sum(held_bytes for _, held_bytes in self._ready) > self._window_bytes
                await self._wait()
            self._is_void |= not begun.result()
        except SyncdError as error:
            self._is_void, self._error = True, error
        finally:
            begun.cancel()
        while self._is_void and self._in_flight:
            await self._wait()

    async def _outcome(self) -> Body | NoBody | None:
        while True:
            # NOTE: after a mere refusal the connection is still good once nothing is in flight.
            if self._error is not None and not (isinstance(self._error, RefusedError) and self._in_flight):
                raise self._error
            if self._is_void:
                return None
            if self._error is None:
                self._fill()
            if self._ready:
                outcome, held_bytes = self._ready.popleft()
                self._session.wire.release(held_bytes)
                self._forget(outcome.uid)
                return outcome
            if not self._in_flight and not any(self._writers.values()):
                return None
            await self._wait()

    async def _wait(self) -> None:
        """Wait until anything has changed; what is void holds nothing meanwhile."""
        self._changed.clear()
        if self._is_void:
            await self._drop()
        await self._changed.wait()

    async def _close(self) -> None:
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for writer in self._writers:
            writer.abandon()
        await self._drop()

    async def _drop(self) -> None:
        while self._ready:
            outcome, held_bytes = self._ready.popleft()
            self._session.wire.release(held_bytes)
            if isinstance(outcome, Body) and not isinstance(outcome.content, bytes):
                await asyncio.to_thread(outcome.content.discard)

    # Asking.

    def _fill(self) -> None:
        while not self._is_left:
            if self._next is None:
                self._next = self._again.popleft() if self._again else next(self._batches, None)
            batch = self._next
            if batch is None and self._behind is not None:
                self._is_left = True
                self._behind()
            if batch is None or (self._asked_bytes and self._asked_bytes + batch.weight_bytes > self._window_bytes):
                return
            self._next = None
            self._ask(batch)

    def _ask(self, batch: _Batch) -> None:
        share = batch.weight_bytes // len(batch.uids)
        for uid in batch.uids:
            if uid not in self._open:
                self._open[uid] = share
                self._asked_bytes += share
        limits = self._session.limits
        command = self._session.attempt(
            "UID FETCH",
            str(batch.uids).encode(),
            b"(UID %b)" % self._part.request,
            is_pipelined=True,
            deadline_s=limits.command_s + (self._window_bytes + batch.size_bytes) / limits.bytes_per_s,
        )
        task = asyncio.ensure_future(command)
        self._in_flight[batch] = task
        task.add_done_callback(lambda done: self._ended(batch, done))

    def _ended(self, batch: _Batch, task: "asyncio.Task[Tagged]") -> None:
        del self._in_flight[batch]
        self._changed.set()
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            self._error = self._error or error
            return
        end = task.result()
        unanswered = UidSet.of(uid for uid in batch.uids if self._is_unanswered(uid))
        if not unanswered:
            pass
        elif end.kind == "OK":
            self._unanswered.append(_Unanswered(unanswered, set(self._in_flight)))
        elif len(batch.uids) == 1:
            self._refuse(unanswered.lowest, end)
        else:
            for uid in unanswered:
                self._forget(uid)
                share = batch.weight_bytes // len(batch.uids)
                self._again.append(_Batch(UidSet.of([uid]), batch.size_bytes, share))
        self._judge(batch)

    def _judge(self, ended: _Batch) -> None:
        for left in self._unanswered:
            left.behind.discard(ended)
            if not left.behind:
                for uid in left.uids:
                    if self._is_unanswered(uid):
                        self._put(NoBody(uid, Lack.ABSENT), 0)
        self._unanswered = [left for left in self._unanswered if left.behind]

    def _refuse(self, uid: int, end: Tagged) -> None:
        self._refused += 1
        if self._refused > _REFUSED_MAX:
            self._error = self._error or refusal("fetching bodies", end, reach=Reach.MAILBOX)
            return
        self._put(NoBody(uid, Lack.REFUSED, said(end.text)), 0)

    # Answers.

    def take(self, response: Untagged) -> bool:
        if not isinstance(response, Fetched):
            return False
        contents = [section.value for section in response.sections if self._is_part(section)]
        if not contents:
            return False
        if response.row.flags is not None and response.row.uid:
            self._session.events.add(response.row)
        wanted = self._is_unanswered(response.row.uid)
        for content in contents:
            self._take(response.row.uid, content, is_wanted=wanted)
            wanted = False
        return True

    def _take(self, uid: int, content: Octets | None, *, is_wanted: bool) -> None:
        if isinstance(content, SpooledLiteral) and isinstance(content.sink, SpoolWriter):
            if is_wanted:
                self._answered.add(uid)
                self._writers[content.sink] = uid
                self._spooled(content.sink)
            else:
                del self._writers[content.sink]
                content.sink.abandon()
        elif is_wanted:
            if isinstance(content, bytes):
                self._session.wire.hold(len(content))
                self._put(Body(uid, content, len(content)), len(content))
                self._refused = 0
            else:
                self._put(NoBody(uid, Lack.NIL), 0)

    def _is_part(self, section: Section) -> bool:
        return section.name == self._part.section and section.origin in self._part.origins

    def open_spool(self, size_bytes: int, spool: Callable[[int], Spool]) -> LiteralSink:
        """Return a sink to a new spool, which belongs to the reader with its body's outcome."""
        writer = SpoolWriter(self._session.wire, lambda: spool(size_bytes), lambda: self._spooled(writer))
        self._writers[writer] = 0
        return writer

    def _spooled(self, writer: SpoolWriter) -> None:
        uid = self._writers.get(writer)
        if not writer.is_finished or not uid:
            return
        del self._writers[writer]
        if writer.error is not None or writer.spool is None:
            writer.abandon()
            self._error = self._error or writer.error
        else:
            self._put(Body(uid, writer.spool, writer.size_bytes), 0)
            self._refused = 0
        self._changed.set()

    def _put(self, outcome: Body | NoBody, held_bytes: int) -> None:
        self._ready.append((outcome, held_bytes))
        self._answered.add(outcome.uid)
        self._changed.set()

    def _forget(self, uid: int) -> None:
        self._asked_bytes -= self._open.pop(uid, 0)  # nothing of what came already
        self._answered.discard(uid)

    def _is_unanswered(self, uid: int) -> bool:
        return uid in self._open and uid not in self._answered


def _batches(wanted: Iterable[Wanted], weight_max_bytes: int) -> Iterator[_Batch]:
    uids: list[int] = []
    size_bytes = weight_bytes = 0
    for one in wanted:
        if uids and (len(uids) >= _BATCH_UIDS or size_bytes + one.size_bytes > _BATCH_BYTES):
            yield _Batch(UidSet.of(uids), size_bytes, weight_bytes)
            uids, size_bytes, weight_bytes = [], 0, 0
        uids.append(one.uid)
        size_bytes += one.size_bytes
        weight_bytes += min(one.size_bytes, weight_max_bytes)
    if uids:
        yield _Batch(UidSet.of(uids), size_bytes, weight_bytes)
