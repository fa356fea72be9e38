"""Floor 3: the rows of a mailbox of few messages, in the round trip in which it is selected, or in one of another.

Theory. A server does SELECT, and what comes behind it, when all that was asked before is done, for it would change what
that means (RFC 9051 §5.5). So they can be sent while bodies of the mailbox before are still coming. What is told up to
the end of the last of those is of that mailbox; who does SELECT before it ends the connection (`WireCommand`).
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import NamedTuple

from syncd.errors import RefusedError, SyncdError
from syncd.imap.commands.rows import Items
from syncd.imap.connection import ImapConnection
from syncd.imap.news.observe import UidListing, list_uids, listing_of
from syncd.imap.types import FetchRow, SelectResult
from syncd.mail.uidset import UID_MAX, UidSet


class FewRows(NamedTuple):
    """What SELECT said, which UIDs there are, and their rows; what lacks a row is listed only."""

    selected: SelectResult
    listing: UidListing
    rows: tuple[FetchRow, ...]


async def select_and_fetch(connection: ImapConnection, octets: bytes, *, most: int) -> FewRows:
    """Select a mailbox and fetch its rows in the same round trip.

    most: with more messages than that, which nobody expected, it is listed without rows.
    """
    await connection.settled()
    return await _select_and_fetch(connection, octets, most, is_behind=False)


class RowsAhead:
    """Ask for the rows of the mailbox that comes next, behind what is under way of the one before."""

    def __init__(self, connection: ImapConnection, octets: bytes, *, most: int, found: FewRows | None = None) -> None:
        """Take what was found before of a mailbox that is selected: nothing is asked then."""
        self._connection = connection
        self._octets = octets
        self._most = most
        self._found = found
        self._selection = None if found is None else connection.selection

    async def ask(self) -> None:
        """Do what `select_and_fetch` does; of what goes wrong whoever asks again hears."""
        with suppress(SyncdError):
            self._found = await _select_and_fetch(self._connection, self._octets, self._most, is_behind=True)
            self._selection = self._connection.selection

    async def take(self, octets: bytes) -> FewRows | None:
        """Return once what came, if it is of this mailbox, and that is still selected as it was then."""
        await self._connection.settled()
        found, self._found = self._found, None
        is_here = octets == self._octets == self._connection.selected
        return found if is_here and self._selection is self._connection.selection else None


async def _select_and_fetch(connection: ImapConnection, octets: bytes, most: int, *, is_behind: bool) -> FewRows:
    selecting = connection.select(octets, is_pipelined=True, is_behind=is_behind)
    fetching = _all_rows(connection, most, is_behind=is_behind)
    selected, rows = await asyncio.gather(selecting, fetching, return_exceptions=True)
    if isinstance(selected, BaseException):
        raise selected
    if isinstance(rows, BaseException) and not isinstance(rows, RefusedError):
        raise rows
    # NOTE: what was fetched behind a refused parameter may have been of the mailbox before.
    if isinstance(rows, RefusedError) or rows is None or selected.is_plain:
        return FewRows(selected, await list_uids(connection), ())
    by_uid = {row.uid: row for row in rows}
    return FewRows(selected, await listing_of(connection, UidSet.of(by_uid)), tuple(by_uid.values()))


async def _all_rows(connection: ImapConnection, most: int, *, is_behind: bool) -> Sequence[FetchRow] | None:
    rows: list[FetchRow] = []
    are_more = False
    every = connection.fetch_rows(UidSet.span(1, UID_MAX), items=Items.ALL, is_pipelined=True, is_behind=is_behind)
    async with aclosing(every) as batches:
        async for batch in batches:
            if are_more := are_more or len(rows) + len(batch) > most:
                rows.clear()  # the rest of the answer has to be read all the same
            else:
                rows += batch
    return None if are_more else rows
