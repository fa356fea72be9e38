"""Floor 3, imap: the bodies and headers that one connection fetches, also bodies before somebody wants them.

Theory. Who has just heard of new messages wants their bodies as soon as it has recorded them. What is asked for at once
comes meanwhile, and is kept here until then. No other part is asked for beside it, for the sinks of large literals are
those of one stream.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing, suppress

from syncd.errors import ProtocolError, Reach, SyncdError
from syncd.imap.commands.bodies import WHOLE, WINDOW_BYTES, Body, NoBody, PartStream, SelectFirst, Wanted, fetch_bodies
from syncd.imap.commands.headers import Header, fetch_headers
from syncd.imap.commands.session import Session
from syncd.imap.types import SpooledLiteral
from syncd.imap.wire.spool import Spool
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

    def fetch_ahead(
        self, wanted: Iterable[Wanted], *, behind: Callable[[], Coroutine[None, None, None]] | None = None
    ) -> None:
        """Ask for bodies of the selected mailbox, unless others are under way that were asked for like this."""
        if self._ahead is None or self._ahead.is_over:
            self._ahead = _Ahead(self._session, self.place, wanted, behind)

    @property
    def has_ahead(self) -> bool:
        """Tell whether bodies that were asked for like this are under way, or came and are not wanted yet."""
        return self._ahead is not None and self._ahead.is_any_left

    async def settled(self) -> None:
        """Return when nothing is under way that was asked for like this, or behind it."""
        if self._ahead is not None:
            await self._ahead.gathered()
            await self._ahead.followed()

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
        wanted, came = tuple(wanted), {}
        if self._ahead is not None:
            await self._ahead.gathered()
            came = self._ahead.take(place or self.place, wanted)
        if lacking := [one for one in wanted if one.uid not in came]:
            await self.settled()
            if selecting is None and None not in {place, self.place} and place != self.place:
                raise ProtocolError("another mailbox was selected meanwhile", reach=Reach.MAILBOX)
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

    def __init__(
        self,
        session: Session,
        place: Place | None,
        wanted: Iterable[Wanted],
        behind: Callable[[], Coroutine[None, None, None]] | None,
    ) -> None:
        self._place = place
        self._bodies: dict[int, Body] = {}
        self._behind = behind
        self._following: asyncio.Task[None] | None = None
        self._stream = PartStream(session, wanted, WHOLE, WINDOW_BYTES, behind=self._follow if behind else None)
        self._gathering = asyncio.create_task(self._gather())

    @property
    def is_over(self) -> bool:
        return self._gathering.done() and (self._following is None or self._following.done())

    @property
    def is_any_left(self) -> bool:
        return bool(self._bodies) or not self._gathering.done()

    async def gathered(self) -> None:
        await asyncio.wait((self._gathering,))
        self._gathering.result()

    async def followed(self) -> None:
        """Return when what was asked for behind the bodies has come; they have."""
        if self._following is not None:
            await asyncio.wait((self._following,))
            self._following.result()

    def _follow(self) -> None:
        # NOTE: its first command is begun when it first runs, which is after those of the bodies did.
        if self._behind is not None:
            self._following = asyncio.create_task(self._behind())

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
