"""Floor 4: the rows of a mailbox of an IMAP account that was never read, recorded newest first."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial

from sqlalchemy import Connection

from syncd.errors import ProtocolError, Reach
from syncd.imap.commands.rows import Items
from syncd.imap.connection import ImapConnection
from syncd.imap.news.few_rows import FewRows, RowsAhead, select_and_fetch
from syncd.imap.news.observe import select_and_list
from syncd.imap.types import FetchRow
from syncd.log import log
from syncd.mail.uidset import EMPTY, UidSet
from syncd.reconcile.planner import Selection
from syncd.store.engine.database import Database
from syncd.store.trees import accounts, history, server_tree
from syncd.store.trees.accounts import MailboxCursor, MailboxRow
from syncd.sync.imap.early_bodies import EarlyBodies
from syncd.sync.imap.identity import RenumberedError
from syncd.sync.imap.observed import cursor_of, observed_of
from syncd.values import Value, replace

Eager = Callable[[], Awaitable[Sequence[Selection]]]
"""Tell what devices take by now; one that begins together with its account is there after a moment only."""

Coming = tuple[bytes, int | None]
"""The name of a mailbox, and how many messages it has as far as the server told."""

_NEWEST = 100
_FEW_ROWS = 500
_ROWS_AT_ONCE = 2000


class FirstListing(Value):
    """List one mailbox; interrupted, the next one lists what is still missing.

    The cursor is that of the first SELECT, so that what changes meanwhile is observed afterwards. under_way: messages
    whose bodies the store is about to have.
    """

    db: Database
    connection: ImapConnection
    mailbox: MailboxRow
    under_way: frozenset[int]
    clock: Callable[[], float]

    async def run(
        self,
        *,
        only_newest: bool,
        count: int | None,
        eager: Eager | None,
        ahead: RowsAhead | None,
        then: Coming | None,
    ) -> RowsAhead | None:
        """Record the rows that the tree does not have: all, newest first, or the newest hundred of many.

        count: of messages, as far as the server told. eager: the newest bodies that these take are asked for before
        their rows are recorded. ahead: what was returned by the listing before. then: of a mailbox of few messages all
        rows are asked for as soon as these bodies are, and that is returned; or else, where rows are left, what was
        listed, so that they can be asked for at once.
        """
        octets = self.mailbox.wire_name
        found = await ahead.take(octets) if ahead is not None else None
        if found is None and count and count <= _FEW_ROWS:
            found = await select_and_fetch(self.connection, octets, most=_FEW_ROWS)
        elif found is None:
            found = FewRows(*await select_and_list(self.connection, octets), ())
        selected, here, rows = found
        if selected.uidvalidity is None:
            raise ProtocolError("the server gives this mailbox no uidvalidity", reach=Reach.MAILBOX)
        uidvalidity = selected.uidvalidity
        missing = here.uids - await self._known_uids(uidvalidity)
        cursor = self.mailbox.cursor
        if cursor.uidvalidity not in {0, uidvalidity}:
            raise RenumberedError("the server gave this mailbox a new uidvalidity")
        if not cursor.uidnext:
            cursor = cursor_of(selected, uidvalidity, here.uids)
        came = [row for row in rows if row.uid in missing]
        missing -= UidSet.of(row.uid for row in came)
        behind = self._rows_of(then)
        # NOTE: each listing takes a round trip at least, however few there are.
        if only_newest and len(missing) > _FEW_ROWS:
            newest = await self._rows(missing.newest(_NEWEST))
            await self._record(newest, cursor, is_listed=False, eager=eager, behind=behind)
            return behind or RowsAhead(self.connection, octets, most=_FEW_ROWS, found=FewRows(selected, here, ()))
        if not here.is_complete:
            log.warning("listing_cut_short", mailbox_id=self.mailbox.id, listed=len(here.uids))
        windows = [*missing.windows_newest_first(_ROWS_AT_ONCE)] or [EMPTY]
        left = len(windows)
        async with aclosing(self._rows_in_turn(windows)) as of_windows:
            async for window in of_windows:
                left -= 1
                if left:
                    await self._record(window, cursor, is_listed=False)
                else:
                    await self._record([*came, *window], cursor, is_listed=True, eager=eager, behind=behind)
        return behind

    def _rows_of(self, coming: Coming | None) -> RowsAhead | None:
        if coming is None or not coming[1] or coming[1] > _FEW_ROWS:
            return None
        return RowsAhead(self.connection, coming[0], most=_FEW_ROWS)

    async def _known_uids(self, uidvalidity: int) -> UidSet:
        return await self.db.read(partial(server_tree.known_uids, mailbox_id=self.mailbox.id, uidvalidity=uidvalidity))

    async def _rows_in_turn(self, windows: Iterable[UidSet]) -> AsyncGenerator[list[FetchRow], None]:
        """Yield the rows of each window; those of the next are on their way while these are recorded.

        Where these cannot be recorded the connection ends, as with any command that nobody waits for any more.
        """
        asked = (asyncio.ensure_future(self._rows(window)) for window in windows)
        coming = next(asked, None)
        try:
            while coming is not None:
                rows = await coming
                coming = next(asked, None)
                yield rows
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _rows(self, uids: UidSet) -> list[FetchRow]:
        rows: list[FetchRow] = []
        if uids:
            async with aclosing(self.connection.fetch_rows(uids, items=Items.ALL)) as batches:
                async for batch in batches:
                    rows += batch
        return rows

    async def _record(
        self,
        rows: Sequence[FetchRow],
        cursor: MailboxCursor,
        *,
        is_listed: bool,
        eager: Eager | None = None,
        behind: RowsAhead | None = None,
    ) -> None:
        if eager is not None:
            early = EarlyBodies(self.db, self.connection, self.mailbox, await eager())
            ask_behind = behind.ask if behind is not None else None
            await early.ask_newest(rows, under_way=self.under_way, behind=ask_behind)
        observed, now = observed_of(rows), self.clock()

        def record(conn: Connection) -> None:
            id_, uidvalidity = self.mailbox.id, cursor.uidvalidity
            server_tree.record_messages(conn, id_, uidvalidity, observed, now=now)
            if observed:
                history.tell_bulk(conn, history.Verb.LIST, len(observed), now=now, mailbox_id=id_)
            count = server_tree.count_messages(conn, mailbox_id=id_, uidvalidity=uidvalidity) if is_listed else None
            known = cursor if count is None else replace(cursor, exists_count=count)
            accounts.move_cursor(conn, id_, known, is_listed=is_listed)

        await self.db.write(record)
