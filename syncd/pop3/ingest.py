"""Floor 3: one POP3 session as a chain of custody: retrieve, commit, DELE, QUIT, and only its +OK confirms a deletion.

Theory. A body travels `RETR -> digest -> commit -> DELE -> QUIT +OK -> confirmed deleted`, and the store follows one
step behind the server at each: whatever is cut, the next session finds every listed message either unknown (and
retrieves it) or committed (and deletes it without retrieving it again, once its term is over). While one batch is
committed, the next is being retrieved, and what came of it is encoded; the first DELE is sent after the last commit.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, Protocol

from syncd.errors import ProtocolError, Reach, RefusedError, SyncdError, Temper
from syncd.log import log
from syncd.pop3.batch import Batch, E
from syncd.pop3.connection import Connection, Failed
from syncd.pop3.custody import (
    AT_ONCE,
    Candidate,
    CustodyState,
    Known,
    Matcher,
    Retrieved,
    SessionPlan,
    Term,
    Verdict,
    after_failure,
    after_refused_delete,
    candidates_of,
    is_anonymous,
    plan_session,
    when_too_large,
)
from syncd.pop3.endpoint import MIB
from syncd.pop3.listing import Listed
from syncd.pop3.spool import Body
from syncd.pop3.unnamed import Unnamed
from syncd.values import Record, Value, field

Decide = Callable[[Sequence[bytes], Sequence[Known]], Sequence[Retrieved]]
"""Say what bodies are, by their digests and the rows of the account that have one of these digests."""


class Custody(Protocol[E]):
    """Keep, for one account, what was retrieved from its maildrop; each call is one transaction, but for `encode`."""

    async def standing(self) -> Sequence[Known]:
        """Return all rows that are COMMITTED or troubled: of what the server has, but for what is new."""

    async def known(self, keys: Collection[str]) -> Sequence[Known]:
        """Return the rows that exist among `keys`."""

    async def unlisted(self, keys: Collection[str]) -> None:
        """Set these rows to UNLISTED: their messages are not there any more, or not under this key."""

    async def untroubled(self, keys: Collection[str]) -> None:
        """Forget the errors of these rows, and give them new tries should they be in the way again."""

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
    deletions: of messages that were committed by earlier sessions.
    """

    batch_bytes: int = 8 * MIB
    encoded_bytes: int = 2 * MIB
    batch_messages: int = 500
    max_tries: int = 3
    deletions: int = 2000


class IngestReport(Value):
    """Count what a session that ended well did.

    retrieved: bodies, `duplicates` of them stored before. deleted: confirmed. kept: left on the server, as their term
    says or for a later session. set_aside: left alone until their tries are reset. waiting: of those kept, how many
    want another session soon. bytes: of bodies.
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
    term: Callable[[], Term] = lambda: AT_ONCE,
    unnamed: Unnamed | None = None,
    on_plan: Callable[[int, int], None] = lambda messages, size_bytes: None,
) -> IngestReport:
    """Drain the maildrop of a connection that is logged in, and end the session.

    Any error drops the connection without QUIT; what was committed until then stays, and the next session goes on
    from it. `spool`: existing directory for large bodies, to be emptied at start by its owner. `on_plan` is called with
    the number and the size of the messages that will be retrieved. `unnamed`: what the session before left there.
    `term` is asked at the beginning, and again before the first DELE: only what is over by both is deleted.
    """
    session = _Session(
        connection,
        custody,
        spool=spool,
        limits=limits or IngestLimits(),
        term=term,
        unnamed=unnamed or Unnamed(),
        on_plan=on_plan,
    )
    try:
        report = await session.run()
    except BaseException as error:
        connection.abort()
        log.info("maildrop_session_dropped", error=type(error).__name__, **session.counts)
        raise
    finally:
        await session.discard()
    told = {"deleted": report.deleted, "kept": report.kept, "set_aside": report.set_aside}
    log.info("maildrop_ingested", **told, **session.counts)
    return report


class _Tally(Record):
    """Count what was committed, and keep what DELE needs of it: never the bodies."""

    term: Term
    deletable: dict[Listed, Known] = field(default_factory=dict)
    unnamed: dict[str, str] = field(default_factory=dict)
    """The committed rows of messages without UIDL, by the keys under which they are listed."""
    retrieved: int = 0
    failed: int = 0
    duplicates: int = 0
    bytes: int = 0

    def add(self, each: Retrieved) -> None:
        self.retrieved += 1
        self.duplicates += each.verdict is Verdict.SAME
        self.bytes += each.size_bytes
        if each.may_be_deleted and self.term.is_over(each.row):
            self.deletable[each.candidate.listed] = each.row
        if each.candidate.is_anonymous and each.may_be_deleted:
            self.unnamed[each.candidate.key] = each.row.key


class _Session(Generic[E]):
    def __init__(
        self,
        connection: Connection,
        custody: Custody[E],
        *,
        spool: Path,
        limits: IngestLimits,
        term: Callable[[], Term],
        unnamed: Unnamed,
        on_plan: Callable[[int, int], None],
    ) -> None:
        self._ask_term = term
        self._term = term()
        self._unnamed = unnamed
        self._on_plan = on_plan
        self._connection = connection
        self._custody = custody
        self._spool = spool
        self._limits = limits
        self._known: dict[str, Known] = {}
        self._standing: dict[str, Known] = {}
        self._tally = _Tally(self._term)
        self._spooled: list[Body] = []
        self._under_way: list[Batch[E]] = []
        self._encoding: asyncio.Task[None] | None = None
        self._committing: asyncio.Task[None] | None = None

    async def run(self) -> IngestReport:
        limits, tally, term = self._limits, self._tally, self._term
        candidates = candidates_of(await self._connection.listing())
        recalled = await self._look_up(candidates)
        plan = plan_session(
            candidates,
            self._known,
            max_message_bytes=self._connection.limits.message_bytes,
            max_tries=limits.max_tries,
            term=term,
            recalled=recalled,
        )
        await self._forget_troubles(plan)
        for candidate in plan.too_large:
            error = RefusedError(
                "the message is larger than max_message_size allows", reach=Reach.MESSAGE, temper=Temper.GIVE_UP
            )
            await self._fail(when_too_large(candidate, self._known.get(candidate.key)), error)
        self._on_plan(len(plan.retrieve), sum(each.listed.size_bytes or 0 for each in plan.retrieve))
        await self._retrieve(plan.retrieve, Matcher(candidates, self._known, recalled.values()))
        of_earlier = plan.delete[: limits.deletions]
        over = tally.deletable | {each.listed: self._known[each.key] for each in of_earlier}
        # NOTE: a session may last for hours, and whoever wants mail kept meanwhile means all that is there.
        term = self._ask_term()
        deletable = {listed: row for listed, row in over.items() if term.is_over(row)}
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
        if not (recalled or tally.failed):
            await self._let_go(self._standing.keys() - set(tally.unnamed.values()), are_anonymous=True)
        self._unnamed.learn({**recalled, **tally.unnamed})
        set_aside = len(plan.set_aside) + len(plan.too_large)
        return IngestReport(
            retrieved=tally.retrieved,
            deleted=len(marked),
            set_aside=set_aside,
            kept=len(candidates) - len(marked) - set_aside,
            duplicates=tally.duplicates,
            waiting=plan.waiting + len(plan.delete) - len(of_earlier),
            bytes=tally.bytes,
        )

    async def _look_up(self, candidates: Sequence[Candidate]) -> Mapping[str, str]:
        """Learn what the store knows of what is listed, and tell it what is not listed any more.

        Return the rows of messages without UIDL of which an earlier session found out that they are to stay.
        """
        self._standing = standing = {row.key: row for row in await self._custody.standing()}
        listed = {candidate.key for candidate in candidates}
        others = listed - standing.keys()
        rows = await self._custody.known(others) if others else ()
        self._known = {row.key: row for row in rows} | {key: standing[key] for key in listed & standing.keys()}
        recalled = self._unnamed.recall(candidates, standing, self._term)
        await self._let_go(standing.keys() - listed.union(recalled.values()), are_anonymous=False)
        return recalled

    async def _let_go(self, keys: Iterable[str], *, are_anonymous: bool) -> None:
        """Tell the store that the messages of these rows are not listed; under one that has no UIDL nothing ever is."""
        unlisted = [
            key
            for key in keys
            if is_anonymous(key) is are_anonymous and self._standing[key].state is CustodyState.COMMITTED
        ]
        if unlisted:
            await self._custody.unlisted(unlisted)

    async def _forget_troubles(self, plan: SessionPlan) -> None:
        """Tell no more of what is not listed, nor of what was to be deleted once and is kept by now."""
        kept = {candidate.key for candidate in plan.kept}
        gone = [row.key for row in self._standing.values() if row.is_troubled and row.key in kept]
        gone += [row.key for row in self._standing.values() if row.is_troubled and row.key not in self._known]
        if gone:
            await self._custody.untroubled(gone)

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
            batch.close()
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
                if not batch.has_room(body, max_bytes=limits.batch_bytes, max_messages=limits.batch_messages):
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

    def _new_batch(self) -> Batch[E]:
        self._under_way.append(batch := Batch[E]())
        return batch

    async def _encode(self, batch: Batch[E], tasks: asyncio.TaskGroup) -> None:
        """Have what came of a batch encoded once what came before is."""
        if self._encoding is not None:
            await self._encoding
        self._encoding = tasks.create_task(self._encode_now(batch, batch.take_bodies()))

    async def _encode_now(self, batch: Batch[E], bodies: Sequence[Body]) -> None:
        batch.encoded.extend(await self._custody.encode(bodies))
        for body in bodies:
            if body.path is not None:
                await body.discard()
                self._spooled.remove(body)

    async def _hand_over(self, batch: Batch[E], matcher: Matcher, tasks: asyncio.TaskGroup) -> None:
        """Have a batch committed when all of it is encoded, once the one before is committed."""
        if batch.bodies:
            await self._encode(batch, tasks)
        if self._committing is not None:
            await self._committing
        self._committing = tasks.create_task(self._commit(batch, matcher, encoding=self._encoding))

    async def _commit(self, batch: Batch[E], matcher: Matcher, *, encoding: "asyncio.Task[None] | None") -> None:
        if encoding is not None:
            await encoding
        if not batch.candidates:
            return
        retrieved = await self._custody.commit(batch.encoded, partial(batch.decide, matcher))
        self._under_way.remove(batch)
        batch.close()
        for each in retrieved:
            self._tally.add(each)
            if each.candidate.is_anonymous and not each.may_be_deleted:
                # Under no key that the next session would know it by: count the try under its size.
                short = ProtocolError("a body shorter than listed", reach=Reach.MESSAGE)
                await self._fail(after_failure(each.candidate, self._known.get(each.candidate.key)), short)

    async def _fail(self, row: Known, error: SyncdError) -> None:
        self._tally.failed += 1
        await self._custody.failed(row, error)
