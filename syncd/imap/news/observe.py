"""Floor 3: what changed in a mailbox since a cursor, by the best rung that the server proves to stand on.

Theory. QRESYNC answers in SELECT. CONDSTORE gives changed rows, and expunges are found by counting: the known plus the
new must be EXISTS. A listing gives every row. Whatever the rung: new messages are fetched in full from the known
UIDNEXT up; a count that does not fit leads to a comparison with all UIDs; and no UID is reported as vanished that a
search for it still finds. A search that lists fewer than EXISTS proves no absence. The cursor comes last, and
stands for the moment of SELECT: what happens later is seen again next time.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from enum import IntEnum
from typing import TypeVar

from syncd.errors import RefusedError
from syncd.imap.commands.rows import SET_MAX_BYTES, Items
from syncd.imap.connection import ImapConnection
from syncd.imap.quirks import NONE, Quirks
from syncd.imap.types import NEW_MAX, FetchRow, Resync, SelectResult
from syncd.log import log
from syncd.mail.uidset import EMPTY, UID_MAX, UidSet
from syncd.values import Value

T = TypeVar("T")

_BATCH_ROWS = 1000


class Rung(IntEnum):
    """How changes are learnt; a higher one costs less."""

    LISTING = 1
    CONDSTORE = 2
    QRESYNC = 3


class Cursor(Value):
    """How far a mailbox was read; count: how many UIDs of it are known then."""

    uidvalidity: int
    uidnext: int
    highestmodseq: int | None
    count: int


class KnownMailbox(Value):
    """What is recorded of a mailbox; uids gives which of some UIDs are known, or all, and is called only when needed.

    NOTE: a server names a few messages that are gone, and all known UIDs are a row for each message of the mailbox.
    """

    cursor: Cursor
    uids: Callable[[UidSet | None], Awaitable[UidSet]]


class Selected(Value):
    """The mailbox was selected, and changes will be learnt by this rung; it comes first.

    is_compared: each row that follows tells size and date, for known UIDs may name other messages now.
    """

    result: SelectResult
    rung: Rung
    is_compared: bool = False


class Renumbered(Value):
    """UIDVALIDITY is not the known one (None: none was told); nothing is concluded and nothing follows."""

    uidvalidity: int | None


class Demoted(Value):
    """The server contradicted itself: use no higher rung for this mailbox from now on."""

    rung: Rung
    reason: str


class ServerChanges(Value):
    """Changed and new rows, and UIDs that are proven to be gone; the last one has the new cursor.

    A row with a size is complete. One without belongs to a known UID; ignore it where the UID is unknown.
    """

    rows: tuple[FetchRow, ...]
    vanished: UidSet = EMPTY
    cursor: Cursor | None = None


Observation = Selected | Renumbered | Demoted | ServerChanges


class UidListing(Value):
    """The UIDs of the selected mailbox; only a complete listing proves an absence."""

    uids: UidSet
    is_complete: bool


def choose_rung(
    capabilities: frozenset[str], selected: SelectResult, quirks: Quirks, *, enabled: frozenset[str]
) -> Rung:
    """Return the highest rung that a server has shown for a mailbox; an announcement alone is not enough."""
    if selected.highestmodseq is None:
        return Rung.LISTING
    return offered_rung(capabilities, quirks, enabled=enabled)


def offered_rung(capabilities: frozenset[str], quirks: Quirks, *, enabled: frozenset[str]) -> Rung:
    """Return the highest rung that a server offers for mailboxes that have mod-sequences."""
    if not capabilities & {"CONDSTORE", "QRESYNC"}:
        return Rung.LISTING
    if "QRESYNC" in enabled and not quirks.no_qresync:
        return Rung.QRESYNC
    return Rung.CONDSTORE


async def list_uids(connection: ImapConnection) -> UidListing:
    """List the UIDs of the selected mailbox, by SEARCH, or by FETCH where SEARCH lists too few."""
    try:
        found = await connection.search_uids("ALL")
    except RefusedError:
        found = EMPTY
    return await listing_of(connection, found)


async def select_and_list(connection: ImapConnection, octets: bytes) -> tuple[SelectResult, UidListing]:
    """Select a mailbox and list its UIDs in the same round trip; where SELECT is refused, nothing is selected."""
    await connection.settled()
    selecting = connection.select(octets, is_pipelined=True)
    selected, found = await asyncio.gather(selecting, connection.search_uids("ALL"), return_exceptions=True)
    if isinstance(selected, BaseException):
        raise selected
    if isinstance(found, BaseException) and not isinstance(found, RefusedError):
        raise found
    if selected.is_plain:  # what was searched may have been the mailbox before
        return selected, await list_uids(connection)
    return selected, await listing_of(connection, EMPTY if isinstance(found, RefusedError) else found)


async def listing_of(connection: ImapConnection, found: UidSet) -> UidListing:
    """Return what was found of the selected mailbox, or what FETCH lists where that is too little."""
    if len(found) < connection.exists:
        log.info("search_cut_short", listed=len(found), exists=connection.exists)
        seen = [row.uid async for row in _rows(connection, UidSet.span(1, UID_MAX), Items.FLAGS)]
        found = UidSet.of(seen)
    return UidListing(found, is_complete=len(found) >= connection.exists)


def resync_of(connection: ImapConnection, cursor: Cursor, *, ceiling: Rung, quirks: Quirks) -> Resync | None:
    """Return with what a mailbox is to be selected so that the answer tells what changed; None: it will not tell."""
    if "QRESYNC" not in connection.enabled or quirks.no_qresync or ceiling is not Rung.QRESYNC:
        return None
    if cursor.highestmodseq is None:
        return None
    asks_for_new = 1 <= cursor.uidnext <= UID_MAX and not quirks.out_of_order
    return Resync(cursor.uidvalidity, cursor.highestmodseq, cursor.uidnext if asks_for_new else None)


async def observe_changes(
    connection: ImapConnection,
    octets: bytes,
    known: KnownMailbox,
    *,
    ceiling: Rung = Rung.QRESYNC,
    quirks: Quirks = NONE,
    is_first: bool = False,
) -> AsyncGenerator[Observation, None]:
    """Select a mailbox and yield what changed in it since `known`.

    Where UIDNEXT or HIGHESTMODSEQ fell the server may have been set back to an older state: all is listed then, with
    size and date. So it is at the first look of a connection if all is listed anyhow: such a server dropped its
    connections. ceiling: the highest rung to try, as demotions left it. Close it with `contextlib.aclosing`. Raises
    RefusedError with reach MAILBOX when the mailbox cannot be selected.
    """
    cursor = known.cursor
    qresync = resync_of(connection, cursor, ceiling=ceiling, quirks=quirks)
    selected = await connection.resync(octets, qresync)
    if selected.is_plain:
        ceiling = Rung.CONDSTORE if qresync is not None else Rung.LISTING
        if not selected.is_of_the_moment:
            yield Demoted(ceiling, "a parameter of select was refused")
    rung = min(ceiling, choose_rung(connection.capabilities, selected, quirks, enabled=connection.enabled))
    has_fallen = selected.uidnext is not None and selected.uidnext < cursor.uidnext
    if cursor.highestmodseq is None or has_fallen:
        rung = Rung.LISTING
    has_modseq_fallen = _has_modseq_fallen(cursor, selected)
    is_compared = has_fallen or has_modseq_fallen or (is_first and rung is Rung.LISTING)
    yield Selected(selected, rung, is_compared)
    if selected.uidvalidity is None or selected.uidvalidity != cursor.uidvalidity:
        yield Renumbered(selected.uidvalidity)
        return
    sight = _Sight(connection, known, selected, quirks, is_compared=is_compared)
    if rung > Rung.LISTING and has_modseq_fallen:
        rung = Rung.LISTING
        yield Demoted(rung, "highestmodseq fell")
    async with aclosing(sight.changes(rung)) as changes:
        async for change in changes:
            yield change


class _Sight:
    """One observation of one selected mailbox."""

    def __init__(
        self,
        connection: ImapConnection,
        known: KnownMailbox,
        selected: SelectResult,
        quirks: Quirks,
        *,
        is_compared: bool,
    ) -> None:
        self._connection = connection
        self._known = known
        self._cursor = known.cursor
        self._selected = selected
        self._quirks = quirks
        self._is_compared = is_compared
        self._new: list[int] = []
        self._modseq = known.cursor.highestmodseq or 0

    async def changes(self, rung: Rung) -> AsyncGenerator[Demoted | ServerChanges, None]:
        claimed = uncounted = EMPTY
        listed: UidListing | None = None
        old = UidSet.span(1, self._cursor.uidnext - 1)
        if rung is Rung.LISTING:
            seen: list[int] = []
            items = Items.ALL if self._is_compared else Items.FLAGS
            async for changes in self._batches(old, items):
                seen += [row.uid for row in changes.rows]
                yield changes
            listed = UidListing(UidSet.of(seen), is_complete=False)
        elif rung is Rung.CONDSTORE:
            try:
                if self._selected.highestmodseq != self._cursor.highestmodseq:
                    async for changes in self._batches(old, Items.FLAGS, changed_since=self._cursor.highestmodseq):
                        yield changes
            except RefusedError:
                yield Demoted(Rung.LISTING, "changedsince was refused")
                async for lower in self.changes(Rung.LISTING):
                    yield lower
                return
        else:
            changed = [row for row in self._selected.rows if row.uid < self._cursor.uidnext]
            for at in range(0, len(changed), _BATCH_ROWS):
                yield self._changes(changed[at : at + _BATCH_ROWS])
            claimed = self._selected.vanished
        if claimed:
            claimed = await self._known.uids(claimed)
        async with _beside(self._proven_gone(claimed)) as proving:
            if told := self._selected.new:
                self._new += [row.uid for row in told]
                yield self._changes(told)
            new = UidSet.span(self._cursor.uidnext, UID_MAX)
            untold = UidSet.span(self._cursor.uidnext + (0 if told is None else NEW_MAX), UID_MAX)
            if self._may_have_any(untold):
                async for changes in self._batches(untold, Items.ALL):
                    self._new += [row.uid for row in changes.rows]
                    yield changes
            # NOTE: what was recorded since the last look is in no count when it is gone.
            if rung is Rung.CONDSTORE and self._may_have_any(new):
                uncounted = await self._known.uids(new) - UidSet.of(self._new)
            vanished = await proving
        if vanished != claimed:
            yield Demoted(Rung.CONDSTORE, "a vanished message was found by search")
        vanished |= await self._proven_gone(uncounted)
        if self._count_without(vanished & old) != self._connection.exists or listed is not None:
            known = await self._known.uids(None)
            here = known | UidSet.of(self._new)
            if listed is not None:
                uids = listed.uids | UidSet.of(self._new)
                listed = UidListing(uids, is_complete=len(uids) >= self._connection.exists)
            if listed is None or not listed.is_complete:
                listed = await list_uids(self._connection)
            if listed.is_complete:
                gone = await self._proven_gone(here - vanished - listed.uids)
                # NOTE: one that went after SELECT could not be named by it.
                if gone and rung is Rung.QRESYNC and not self._connection.has_losses:
                    yield Demoted(Rung.CONDSTORE, "an expunged message was not named")
                vanished |= gone
            async for changes in self._batches(listed.uids - here, Items.ALL):
                self._new += [row.uid for row in changes.rows]
                yield changes
        count, uidnext = self._count_without(vanished & old), self._cursor.uidnext
        if listed is not None and listed.is_complete:
            here = listed.uids | UidSet.of(self._new)
            count = len(here)
            if self._is_compared and (self._selected.uidnext or uidnext) < uidnext:  # what comes next is new
                uidnext = here.highest + 1 if here else 1
        yield ServerChanges((), vanished, self._next_cursor(count, uidnext))

    async def _batches(
        self, uids: UidSet, items: Items, *, changed_since: int | None = None
    ) -> AsyncGenerator[ServerChanges, None]:
        rows = self._connection.fetch_rows(uids, items=items, changed_since=changed_since, is_pipelined=True)
        async with aclosing(rows) as batches:
            async for batch in batches:
                yield self._changes(batch)

    def _count_without(self, vanished: UidSet) -> int:
        return self._cursor.count + len(self._new) - len(vanished)

    def _changes(self, rows: Sequence[FetchRow]) -> ServerChanges:
        self._modseq = max(self._modseq, *(row.modseq or 0 for row in rows), 0)
        return ServerChanges(tuple(rows))

    def _may_have_any(self, new: UidSet) -> bool:
        if not new:
            return False
        uidnext, lowest = self._selected.uidnext, new.lowest
        return uidnext is None or uidnext > lowest or any(row.uid >= lowest for row in self._selected.rows)

    async def _proven_gone(self, claimed: UidSet) -> UidSet:
        gone = EMPTY
        for piece in claimed.pieces(SET_MAX_BYTES):
            # NOTE: one UID that is still there discredits the whole claim: an answer may be cut short.
            if not await self._connection.search_uids(f"UID {piece}") & piece:
                gone |= piece
        return gone

    def _next_cursor(self, count: int, uidnext: int) -> Cursor:
        modseq = self._selected.highestmodseq
        if modseq is not None and self._quirks.modseq_runs_ahead and self._cursor.highestmodseq is not None:
            modseq = min(modseq, self._modseq)
        return Cursor(
            uidvalidity=self._cursor.uidvalidity,
            uidnext=max(uidnext, self._selected.uidnext or 0, max(self._new, default=0) + 1),
            highestmodseq=modseq,
            count=count,
        )


@asynccontextmanager
async def _beside(command: Coroutine[None, None, T]) -> AsyncIterator["asyncio.Task[T]"]:
    """Let a command wait for its answer meanwhile; it has ended when this is left, with the connection at the worst."""
    task = asyncio.ensure_future(command)
    try:
        yield task
    except Exception:
        await asyncio.wait((task,))
        raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _has_modseq_fallen(cursor: Cursor, selected: SelectResult) -> bool:
    known, now = cursor.highestmodseq, selected.highestmodseq
    return known is not None and now is not None and now < known


async def _rows(
    connection: ImapConnection, uids: UidSet, items: Items, *, is_pipelined: bool = False
) -> AsyncGenerator[FetchRow, None]:
    async with aclosing(connection.fetch_rows(uids, items=items, is_pipelined=is_pipelined)) as batches:
        async for batch in batches:
            for row in batch:
                yield row
