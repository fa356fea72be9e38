"""Floor 4: what came into a mailbox of an IMAP server from a UID on, and which of that is what was sent there.

Theory. The headers of what the server named, or of as many messages as were sent, are asked for together with the rows:
mostly it is these. A look *behind* what is being sent asks for that in the same round trip; it says nothing where the
server shows it only later, and then is made once more.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing

from syncd.errors import RefusedError
from syncd.imap.commands.headers import Header
from syncd.imap.connection import ImapConnection
from syncd.imap.types import FetchRow, SelectResult
from syncd.mail.message import facts_of
from syncd.mail.uidset import UID_MAX, UidSet
from syncd.reconcile.arrivals import Arrival, Came, Sent, arrivals
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.imap.foreseen import Foreseen
from syncd.sync.imap.identity import fetch_facts
from syncd.values import Value

_Rows = Sequence[FetchRow] | BaseException
_Answers = tuple[SelectResult | BaseException, _Rows, Mapping[int, bytes] | BaseException, _Rows]


class Arrived(Value):
    """What a mailbox has from a UID on, and the headers of some of it."""

    rows: Mapping[int, FetchRow]
    headers: Mapping[int, bytes]

    def found(self, sent: Sequence[Sent]) -> Mapping[int, Arrival]:
        """Return which of those whose headers are known is what was sent."""
        return arrivals(sent, [_came(row, self.headers[uid]) for uid, row in self.rows.items() if uid in self.headers])


class LookBehind:
    """A look at a mailbox that is selected, behind what is being sent to it, in the same round trip."""

    def __init__(self, connection: ImapConnection, target: MailboxRow, *, uidnext: int, foreseen: Foreseen) -> None:
        """Look at what is there from `uidnext` on, and let `foreseen` keep what beside that is looked at."""
        self._connection = connection
        self._target = target
        self._uidnext = uidnext
        self._foreseen = foreseen
        self._asked: asyncio.Future[_Answers] | None = None

    def begin(self, count: int, *, beside: UidSet) -> None:
        """Ask, once all that is sent has its place on the wire.

        count: of how many messages the headers are wanted. beside: what is to be looked at as well.
        """
        named = UidSet.span(self._uidnext, min(self._uidnext + count - 1, UID_MAX))
        self._asked = asyncio.gather(
            self._connection.select(self._target.wire_name, is_pipelined=True, is_anew=True),
            fetch_facts(self._connection, UidSet.span(self._uidnext, UID_MAX), is_pipelined=True),
            fetch_headers(self._connection, named),
            fetch_facts(self._connection, beside, is_pipelined=True),
            return_exceptions=True,
        )

    async def arrived(self) -> Arrived | None:
        """Return what is there; None where it was not asked, or is to be asked again."""
        if self._asked is None:
            return None
        answers = selected, rows, headers, others = await self._asked
        for one in answers:
            if isinstance(one, BaseException) and not isinstance(one, RefusedError):
                raise one
        if isinstance(selected, BaseException) or isinstance(rows, BaseException) or isinstance(headers, BaseException):
            return None
        # NOTE: behind a parameter that was refused nothing was selected, or the mailbox as it was before.
        is_same = selected.uidvalidity == self._target.cursor.uidvalidity and not selected.is_plain
        if is_same and not isinstance(others, BaseException):
            self._foreseen.note(self._connection, others)
        return _arrived(rows, headers) if is_same else None

    async def aclose(self) -> None:
        """Let go of what is asked and not answered, and with that of the connection."""
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.gather(self._asked, return_exceptions=True)


async def look(connection: ImapConnection, uidnext: int, *, named: UidSet) -> Arrived:
    """Return what the selected mailbox has from a UID on, with the headers of those named."""
    rows, headers = await asyncio.gather(
        fetch_facts(connection, UidSet.span(uidnext, UID_MAX), is_pipelined=True),
        fetch_headers(connection, named),
        return_exceptions=True,
    )
    if isinstance(rows, BaseException):
        raise rows
    if isinstance(headers, BaseException):
        raise headers
    return _arrived(rows, headers)


async def fetch_headers(connection: ImapConnection, uids: UidSet) -> Mapping[int, bytes]:
    """Return the headers of messages of the selected mailbox."""
    if not uids:
        return {}
    async with aclosing(connection.fetch_headers(uids)) as headers:
        return {header.uid: header.octets async for header in headers if isinstance(header, Header)}


def _arrived(rows: Sequence[FetchRow], headers: Mapping[int, bytes]) -> Arrived:
    return Arrived({row.uid: row for row in rows if row.flags is not None}, headers)


def _came(row: FetchRow, header: bytes) -> Came:
    facts = facts_of((header,))
    return Came(row.uid, row.size_bytes, facts.header_digest, facts.message_id, row.internaldate)
