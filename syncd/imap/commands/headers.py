"""Floor 3: the headers of messages, to tell which message is which without its body."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from syncd.imap.commands.bodies import Body, NoBody, Part, PartStream, Wanted
from syncd.imap.commands.session import Session
from syncd.mail.message import HEADER_MAX_BYTES
from syncd.mail.uidset import UidSet
from syncd.values import Opaque

_PART = Part(b"BODY.PEEK[HEADER]<0.%d>" % HEADER_MAX_BYTES, "HEADER", frozenset({0, None}))
_USUAL_BYTES = 8 * 1024
_WINDOW_BYTES = 4 * 1024 * 1024


class Header(Opaque):
    """The octets that a message begins with, up to and with the empty line, at most HEADER_MAX_BYTES."""

    uid: int
    octets: bytes


async def fetch_headers(session: Session, uids: UidSet) -> AsyncGenerator[Header | NoBody, None]:
    """Yield an outcome for each UID; see `ImapConnection.fetch_headers`."""
    stream = PartStream(session, (Wanted(uid, _USUAL_BYTES) for uid in uids), _PART, _WINDOW_BYTES)
    async with aclosing(stream.outcomes(_Beginning)) as outcomes:
        async for outcome in outcomes:
            if isinstance(outcome, Body) and isinstance(outcome.content, bytes):
                yield Header(outcome.uid, outcome.content[:HEADER_MAX_BYTES])
            elif isinstance(outcome, NoBody):
                yield outcome


class _Beginning:
    """Keep of a literal what a header may have; a server that ignores the bound may send any number of octets."""

    def __init__(self, _: int) -> None:
        self._octets = bytearray()

    def write(self, piece: bytes) -> None:
        self._octets += piece[: HEADER_MAX_BYTES - len(self._octets)]

    def done(self) -> bytes:
        return bytes(self._octets)
