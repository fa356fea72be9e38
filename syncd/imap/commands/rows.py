"""Floor 3: listings of messages as a stream of row batches."""

import asyncio
from collections.abc import AsyncGenerator
from enum import Enum
from typing import TypeGuard

from syncd.errors import Reach
from syncd.imap.answers.refusals import refusal
from syncd.imap.commands.session import Session
from syncd.imap.types import FetchRow, Tagged, Untagged
from syncd.mail.uidset import UidSet

SET_MAX_BYTES = 4000
"""Text of one UID set; servers must take command lines of 8192 octets (RFC 7162 §4)."""
_ROW_BYTES = 200
_BATCH_ROWS = 1000
_ROW_S = 0.005


class Items(Enum):
    """Say what a listing asks for: what changes in a message's life, or also what never does."""

    FLAGS = "flags"
    ALL = "all"


async def fetch_rows(
    session: Session,
    uids: UidSet,
    *,
    items: Items,
    changed_since: int | None,
    is_pipelined: bool = False,
    is_behind: bool = False,
) -> AsyncGenerator[tuple[FetchRow, ...], None]:
    """Yield the rows of `uids`; see `ImapConnection.fetch_rows`."""
    request = _request(session, items, changed_since)
    for piece in uids.pieces(SET_MAX_BYTES):
        stream = _RowStream(session, piece, items)
        task = asyncio.ensure_future(
            session.attempt(
                "UID FETCH",
                str(piece).encode(),
                request,
                collector=stream,
                is_pipelined=is_pipelined,
                is_in_turn=is_behind,
                deadline_s=session.limits.command_s + session.events.exists * _ROW_S,
            )
        )
        task.add_done_callback(stream.end)
        try:
            async for batch in stream.batches():
                yield batch
            end = await task
        finally:
            stream.discard()
            task.cancel()
            # NOTE: gather also takes an error that nobody waits for any more.
            await asyncio.gather(task, return_exceptions=True)
        if end.kind != "OK":
            raise refusal("fetching rows", end, reach=Reach.MAILBOX)


async def fetch_new_rows(session: Session, uids: UidSet, *, is_in_turn: bool) -> tuple[FetchRow, ...] | None:
    """Return whole rows of few `uids` of the mailbox of a SELECT that is under way, None where that is refused.

    is_in_turn: of what is told before its turn none is an answer, for it may be about another mailbox.
    NOTE: where mostly none of them is there a stream would cost more than all else.
    """
    collector = _NewRows(uids)
    request = _request(session, Items.ALL, None)
    end = await session.attempt(
        "UID FETCH", str(uids).encode(), request, collector=collector, is_pipelined=True, is_in_turn=is_in_turn
    )
    return tuple(collector.rows.values()) if end.kind == "OK" else None


def _request(session: Session, items: Items, changed_since: int | None) -> bytes:
    wanted = ["UID", "FLAGS"]
    has_modseqs = session.trusts("CONDSTORE") if session.has_modseqs is None else session.has_modseqs
    if has_modseqs and session.capabilities & {"CONDSTORE", "QRESYNC"}:
        wanted.append("MODSEQ")
    if items is Items.ALL:
        wanted += ["RFC822.SIZE", "INTERNALDATE"]
        if "OBJECTID" in session.capabilities:
            wanted.append("EMAILID")
        elif "X-GM-EXT-1" in session.capabilities:
            wanted.append("X-GM-MSGID")
    request = f"({' '.join(wanted)})"
    if changed_since is not None:
        request += f" (CHANGEDSINCE {changed_since})"
    return request.encode()


def _is_row(response: Untagged, uids: UidSet) -> TypeGuard[FetchRow]:
    # NOTE: a row without what was asked is news of another change, even if its UID is among ours.
    return isinstance(response, FetchRow) and response.flags is not None and response.uid in uids


class _NewRows:
    """Take whole rows, and drop those that nobody asked for: some servers say the last one where there is none."""

    def __init__(self, uids: UidSet) -> None:
        self.rows: dict[int, FetchRow] = {}
        self._uids = uids

    def take(self, response: Untagged) -> bool:
        # NOTE: one without a size is no new message, whatever its UID; it would be counted as one.
        if not isinstance(response, FetchRow) or response.size_bytes is None:
            return False
        if _is_row(response, self._uids):
            self.rows[response.uid] = response
        return True


class _RowStream:
    """Hold rows between the wire and a reader; what is held counts against the wire's limit."""

    def __init__(self, session: Session, uids: UidSet, items: Items) -> None:
        self._session = session
        self._uids = uids
        self._items = items
        self._rows: list[FetchRow] = []
        self._is_over = False
        self._ready = asyncio.Event()

    def take(self, response: Untagged) -> bool:
        if not _is_row(response, self._uids):
            return False
        if self._items is Items.ALL and response.size_bytes is None:
            return False
        self._rows.append(response)
        self._session.wire.hold(_ROW_BYTES)
        if len(self._rows) >= _BATCH_ROWS:
            self._ready.set()
        return True

    def end(self, _: "asyncio.Future[Tagged]") -> None:
        self._is_over = True
        self._ready.set()

    def discard(self) -> None:
        self._session.wire.release(_ROW_BYTES * len(self._rows))
        self._rows.clear()

    async def batches(self) -> AsyncGenerator[tuple[FetchRow, ...], None]:
        while True:
            await self._ready.wait()
            self._ready.clear()
            if self._is_over:
                self._ready.set()
            if self._rows:
                batch = tuple(self._rows)
                self.discard()
                yield batch
            elif self._is_over:
                return
