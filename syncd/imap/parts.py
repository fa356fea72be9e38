"""Floor 3, imap: the bodies and headers that one connection fetches, also bodies before somebody wants them.

Theory. Who has just heard of new messages wants their bodies as soon as it has recorded them. What is asked for at once
comes meanwhile, and is kept here until then. No other part is asked for beside it, for the sinks of large literals are
those of one stream.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress

from syncd.errors import SyncdError
from syncd.imap.bodies import WHOLE, WINDOW_BYTES, Body, NoBody, PartStream, SelectFirst, Wanted, fetch_bodies
from syncd.imap.headers import Header, fetch_headers
from syncd.imap.session import Session
from syncd.imap.spool import Spool
from syncd.imap.types import SpooledLiteral
from syncd.mail.uidset import UidSet

Place = tuple[bytes, int | None]
"""A mailbox and its UIDVALIDITY."""


class Parts:
    """Fetch parts of messages over one session, one stream at a time."""

    def __init__(self, session: Session) -> None:
        self.place: Place | None = None
        """The mailbox that is selected."""
        self._session = session
        self._ahead: _Ahead | None = None

    def fetch_ahead(self, wanted: Iterable[Wanted]) -> None:
        """Ask for bodies of the selected mailbox, unless others are under way that were asked for like this."""
        if self._ahead is None or self._ahead.gathering.done():
            self._ahead = _Ahead(self._session, self.place, wanted)

    async def settled(self) -> None:
        """Return when nothing is under way that was asked for like this."""
        if self._ahead is not None:
            await asyncio.wait((self._ahead.gathering,))
            self._ahead.gathering.result()

    async def rest(self) -> None:
        """Keep nothing any more, once it has come."""
        await self.settled()
        self._ahead = None

    async def bodies(
        self,
        wanted: Iterable[Wanted],
        *,
        spool: Callable[[int], Spool],
        window_bytes: int,
        place: Place | None = None,
        selecting: SelectFirst | None = None,
    ) -> AsyncGenerator[Body | NoBody, None]:
        """Yield an outcome for each wanted UID, and ask only for those that did not come already."""
        await self.settled()
        wanted = tuple(wanted)
        came = self._ahead.take(place or self.place, wanted) if self._ahead is not None else {}
        lacking = [one for one in wanted if one.uid not in came]
        fetched = fetch_bodies(
            self._session,
            lacking,
            came=came.values(),
            spool=spool,
            window_bytes=window_bytes,
            selecting=selecting if lacking else None,
        )
        async with aclosing(fetched) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async def headers(self, uids: UidSet) -> AsyncGenerator[Header | NoBody, None]:
        """Yield an outcome for each UID."""
        await self.settled()
        async with aclosing(fetch_headers(self._session, uids)) as outcomes:
            async for outcome in outcomes:
                yield outcome


class _Ahead:
    """Gather bodies in memory; of what does not come nobody hears before it is fetched."""

    def __init__(self, session: Session, place: Place | None, wanted: Iterable[Wanted]) -> None:
        self._place = place
        self._bodies: dict[int, Body] = {}
        self._stream = PartStream(session, wanted, WHOLE, WINDOW_BYTES)
        self.gathering = asyncio.create_task(self._gather())

    async def _gather(self) -> None:
        size_bytes = 0
        with suppress(SyncdError):
            async with aclosing(self._stream.outcomes(_Passing)) as outcomes:
                async for outcome in outcomes:
                    if isinstance(outcome, Body):
                        size_bytes += outcome.size_bytes
                        if size_bytes <= WINDOW_BYTES:  # whatever sizes the server had told
                            self._bodies[outcome.uid] = outcome

    def take(self, place: Place | None, wanted: Iterable[Wanted]) -> dict[int, Body]:
        """Return once those of the bodies that came, if they are of this mailbox."""
        if place != self._place:
            return {}
        return {one.uid: self._bodies.pop(one.uid) for one in wanted if one.uid in self._bodies}


class _Passing:
    """Let a literal pass that is too large for memory: then its message has no body yet."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    def write(self, piece: bytes) -> None:
        pass

    def done(self) -> SpooledLiteral:
        return SpooledLiteral(self, self._size_bytes)
