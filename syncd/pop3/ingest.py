"""Floor 3: one POP3 session as a chain of custody: retrieve, commit, DELE, QUIT, and only its +OK confirms a deletion.

Theory. A body travels `RETR -> digest -> commit -> DELE -> QUIT +OK -> confirmed deleted`, and the store follows one
step behind the server at each: whatever is cut, the next session finds every listed message either unknown (and
retrieves it) or committed (and deletes it without retrieving it again). While one batch is committed, the next is
being retrieved, and what came of it is encoded; the first DELE is sent after the last commit.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from syncd.errors import ProtocolError, Reach, RefusedError, SyncdError, Temper
from syncd.log import log
from syncd.pop3.connection import Connection, Failed
from syncd.pop3.custody import (
    Candidate,
    Known,
    Matcher,
    Retrieved,
    Verdict,
    after_failure,
    after_refused_delete,
    candidates_of,
    plan_session,
    when_too_large,
)
from syncd.pop3.endpoint import MIB
from syncd.pop3.listing import Listed
from syncd.pop3.spool import Body
from syncd.values import Record, Value, field

Decide = Callable[[Sequence[bytes], Sequence[Known]], Sequence[Retrieved]]
"""Say what bodies are, by their digests and the rows of the account that have one of these digests."""


class Encoded(Protocol):
    """A body as it is going to be stored; it may hold a file until it is closed."""

    def close(self) -> None: ...


E = TypeVar("E", bound=Encoded)


class Custody(Protocol[E]):
    """Keep, for one account, what was retrieved from its maildrop; each call is one transaction, but for `encode`."""

    async def known(self, keys: Collection[str]) -> Sequence[Known]:
        """Return the rows that exist among `keys`."""

    async def listed(self, keys: Collection[str]) -> None:
        """Forget the errors of all other rows: their messages are not there any more, or under another key."""

    async def encode(self, bodies: Sequence[Body]) -> Sequence[E]:
        """Return bodies, in their order, as `commit` takes them; spool files are removed by the caller afterwards."""

    async def commit(self, batch: Sequence[E], decide: Decide) -> Sequence[Retrieved]:
        """Make bodies and rows durable, all or nothing, and return them as decided; they are when this returns.

        NEW: a new message in INBOX, also if its body equals another's. SAME: the row only; the message is there, or was
        and the person deleted it. REPLACES: a new message, and the doubtful one of this row is withdrawn. The caller
        closes the bodies.
        """

    async def deletion_asked(self, keys: Collection[str]) -> None:
        """Set these rows to ASKED, `tries` untouched: from now on the server may delete its copies."""

    async def deletion_confirmed(self, keys: Collection[str]) -> None:
        """Set these rows to DELETED, `tries` untouched: the server confirmed that its copies are gone."""

    async def failed(self, row: Known, error: SyncdError) -> None:
        """Keep the row of a message that could not be taken, and the error for `status`."""


class IngestLimits(Value):
    """Bound one session.

    batch_bytes, batch_messages: of one commit; a message that is larger is one of its own. encoded_bytes: from so many
    on, what came is encoded while more comes. max_tries: after so many failures in a row a message is set aside.
    """

    batch_bytes: int = 8 * MIB
    encoded_bytes: int = 2 * MIB
    batch_messages: int = 500
    max_tries: int = 3


class IngestReport(Value):
    """Count what a session that ended well did.

    retrieved: bodies, `duplicates` of them stored before. deleted: confirmed. kept: left on the server for a later
    session. set_aside: left alone until their tries are reset. waiting: of those kept, how many want a session of
    their own soon. bytes: of bodies.
    """

    retrieved: int = 0
    deleted: int = 0
    set_aside: int = 0
    kept: int = 0
    duplicates: int = 0
    waiting: int = 0
    bytes: int = 0


async def ingest(
    connection: Connection,
    custody: Custody[E],
    *,
    spool: Path,
    limits: IngestLimits | None = None,
    on_plan: Callable[[int, int], None] = lambda messages, size_bytes: None,
) -> IngestReport:
    """Drain the maildrop of a connection that is logged in, and end the session.

    Any error drops the connection without QUIT; what was committed until then stays, and the next session goes on
    from it. `spool`: existing directory for large bodies, to be emptied at start by its owner. `on_plan` is called with
    the number and the size of the messages that will be retrieved.
    """
    session = _Session(connection, custody, spool, limits or IngestLimits(), on_plan)
    try:
        report = await session.run()
    except BaseException as error:
        connection.abort()
        log.info("maildrop_session_dropped", error=type(error).__name__, **session.counts)
        raise
    finally:
        await session.discard()
    log.info("maildrop_ingested", deleted=report.deleted, set_aside=report.set_aside, **session.counts)
    return report


class _Tally(Record):
    """Count what was committed, and keep what DELE needs of it: never the bodies."""

    deletable: dict[Listed, Known] = field(default_factory=dict)
    retrieved: int = 0
    failed: int = 0
    duplicates: int = 0
    bytes: int = 0

    def add(self, each: Retrieved) -> None:
        self.retrieved += 1
        self.duplicates += each.verdict is Verdict.SAME
        self.bytes += each.size_bytes
        if each.may_be_deleted:
            self.deletable[each.candidate.listed] = each.row


class _Batch(Generic[E]):
    """Gather what one commit is of: `bodies` that came, and in `encoded`, in their order, those that came before."""

    def __init__(self) -> None:
        self.candidates: list[Candidate] = []
        self.sizes: list[int] = []
        self.size_bytes = 0
        self.bodies: list[Body] = []
        self.encoded: list[E] = []

    def has_room(self, body: Body, limits: IngestLimits) -> bool:
        """Tell whether a body does not take it over its bounds; one body may."""
        # NOTE: full before it goes over its bound. Devices write as much at a time: of more, each of them would write
        # and link the rest as a batch of its own.
        is_full = self.size_bytes + body.size_bytes > limits.batch_bytes or len(self.sizes) >= limits.batch_messages
        return not (self.sizes and is_full)

    def add(self, candidate: Candidate, body: Body) -> None:
        self.candidates.append(candidate)
        self.sizes.append(body.size_bytes)
        self.size_bytes += body.size_bytes
        self.bodies.append(body)

    def take_bodies(self) -> Sequence[Body]:
        bodies, self.bodies = self.bodies, []
        return bodies

    def decide(self, matcher: Matcher, digests: Sequence[bytes], rows: Sequence[Known]) -> Sequence[Retrieved]:
        """Return what to commit."""
        copies: dict[bytes, list[Known]] = {}
        for row in rows:
            copies.setdefault(row.digest, []).append(row)
        each = zip(self.candidates, self.sizes, digests, strict=True)
        return [matcher.decide(candidate, size, digest, copies.get(digest, ())) for candidate, size, digest in each]


class _Session(Generic[E]):
    def __init__(
        self,
        connection: Connection,
        custody: Custody[E],
        spool: Path,
        limits: IngestLimits,
        on_plan: Callable[[int, int], None],
    ) -> None:
        self._on_plan = on_plan
        self._connection = connection
        self._custody = custody
        self._spool = spool
        self._limits = limits
        self._known: dict[str, Known] = {}
        self._tally = _Tally()
        self._spooled: list[Body] = []
        self._under_way: list[_Batch[E]] = []
        self._encoding: asyncio.Task[None] | None = None
        self._committing: asyncio.Task[None] | None = None

    async def run(self) -> IngestReport:
        limits, tally = self._limits, self._tally
        candidates = candidates_of(await self._connection.listing())
        if candidates:
            rows = await self._custody.known([candidate.key for candidate in candidates])
            self._known = {row.key: row for row in rows}
        await self._custody.listed([candidate.key for candidate in candidates])
        plan = plan_session(
            candidates,
            self._known,
            max_message_bytes=self._connection.limits.message_bytes,
            max_tries=limits.max_tries,
        )
        for candidate in plan.too_large:
            error = RefusedError(
                "the message is larger than max_message_size allows", reach=Reach.MESSAGE, temper=Temper.GIVE_UP
            )
            await self._fail(when_too_large(candidate, self._known.get(candidate.key)), error)
        self._on_plan(len(plan.retrieve), sum(each.listed.size_bytes or 0 for each in plan.retrieve))
        await self._retrieve(plan.retrieve, Matcher(candidates, self._known))
        deletable = tally.deletable | {each.listed: self._known[each.key] for each in plan.delete}
        marked = await self._connection.delete(tuple(deletable))
        for listed in deletable.keys() - marked:
            refusal = RefusedError("the server refused DELE", reach=Reach.MESSAGE)
            await self._fail(after_refused_delete(deletable[listed]), refusal)
        keys = [deletable[listed].key for listed in marked]
        if keys:
            # NOTE: were the answer to QUIT lost, its UIDLs may stand for other messages the next time.
            await self._custody.deletion_asked(keys)
        await self._connection.quit()
        if keys:
            await self._custody.deletion_confirmed(keys)
        set_aside = len(plan.set_aside) + len(plan.too_large)
        return IngestReport(
            retrieved=tally.retrieved,
            deleted=len(marked),
            set_aside=set_aside,
            kept=len(candidates) - len(marked) - set_aside,
            duplicates=tally.duplicates,
            waiting=plan.waiting,
            bytes=tally.bytes,
        )

    @property
    def counts(self) -> dict[str, int]:
        """Return what to log of the session, however it ended."""
        tally = self._tally
        return {
            "retrieved": tally.retrieved,
            "duplicates": tally.duplicates,
            "bytes": tally.bytes,
            "failed": tally.failed,
        }

    async def discard(self) -> None:
        """Remove the files of what was not committed."""
        for batch in self._under_way:
            _close(batch.encoded)
        for body in self._spooled:
            await body.discard()

    async def _retrieve(self, wanted: Sequence[Candidate], matcher: Matcher) -> None:
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                failure = await self._pump(wanted, matcher, group)
        except ExceptionGroup as several:
            failure = several.exceptions[0]
        if failure is not None:
            raise failure

    async def _pump(self, wanted: Sequence[Candidate], matcher: Matcher, tasks: asyncio.TaskGroup) -> SyncdError | None:
        """Encode and commit what came while more is retrieved; return what ended the retrieval early."""
        limits = self._limits
        of_listed = {candidate.listed: candidate for candidate in wanted}
        batch = self._new_batch()
        unencoded_bytes = 0
        lost: SyncdError | None = None
        arrivals = self._connection.retrieve(tuple(of_listed), spool=self._spool)
        async with contextlib.aclosing(arrivals):
            while True:
                try:
                    arrival = await anext(arrivals, None)
                except SyncdError as error:
                    lost = error
                    break
                if arrival is None:
                    break
                candidate = of_listed[arrival.listed]
                if isinstance(arrival, Failed):
                    # NOTE: a server in trouble says so for each message; that is no message's fault.
                    if not (isinstance(arrival.error, RefusedError) and arrival.error.code == "SYS/TEMP"):
                        await self._fail(after_failure(candidate, self._known.get(candidate.key)), arrival.error)
                    continue
                body = arrival.body
                if body.path is not None:
                    self._spooled.append(body)
                if not batch.has_room(body, limits):
                    await self._hand_over(batch, matcher, tasks)
                    batch, unencoded_bytes = self._new_batch(), 0
                batch.add(candidate, body)
                unencoded_bytes += body.size_bytes
                if unencoded_bytes >= limits.encoded_bytes:
                    await self._encode(batch, tasks)
                    unencoded_bytes = 0
        # What came whole before the session broke is committed all the same.
        await self._hand_over(batch, matcher, tasks)
        if self._committing is not None:
            await self._committing
        return lost

    def _new_batch(self) -> _Batch[E]:
        self._under_way.append(batch := _Batch[E]())
        return batch

    async def _encode(self, batch: _Batch[E], tasks: asyncio.TaskGroup) -> None:
        """Have what came of a batch encoded once what came before is."""
        if self._encoding is not None:
            await self._encoding
        self._encoding = tasks.create_task(self._encode_now(batch, batch.take_bodies()))

    async def _encode_now(self, batch: _Batch[E], bodies: Sequence[Body]) -> None:
        batch.encoded.extend(await self._custody.encode(bodies))
        for body in bodies:
            if body.path is not None:
                await body.discard()
                self._spooled.remove(body)

    async def _hand_over(self, batch: _Batch[E], matcher: Matcher, tasks: asyncio.TaskGroup) -> None:
        """Have a batch committed when all of it is encoded, once the one before is committed."""
        if batch.bodies:
            await self._encode(batch, tasks)
        if self._committing is not None:
            await self._committing
        self._committing = tasks.create_task(self._commit(batch, matcher, encoding=self._encoding))

    async def _commit(self, batch: _Batch[E], matcher: Matcher, *, encoding: "asyncio.Task[None] | None") -> None:
        if encoding is not None:
            await encoding
        if not batch.candidates:
            return
        retrieved = await self._custody.commit(batch.encoded, partial(batch.decide, matcher))
        self._under_way.remove(batch)
        _close(batch.encoded)
        for each in retrieved:
            self._tally.add(each)
            if each.candidate.is_anonymous and not each.may_be_deleted:
                # Under no key that the next session would know it by: count the try under its size.
                short = ProtocolError("a body shorter than listed", reach=Reach.MESSAGE)
                await self._fail(after_failure(each.candidate, self._known.get(each.candidate.key)), short)

    async def _fail(self, row: Known, error: SyncdError) -> None:
        self._tally.failed += 1
        await self._custody.failed(row, error)


def _close(encoded: Iterable[Encoded]) -> None:
    for one in encoded:
        one.close()
