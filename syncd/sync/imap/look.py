"""Floor 4: one look at a mailbox on its server: what changed since its cursor, believed or doubted, and recorded.

Theory. Rows are recorded as they come, a thousand in a transaction; what is gone comes last, with the cursor, and with
the last of the rows, so that a few changes are one transaction. It is doubted if it is extraordinary
(`suspicions`). Where a server may have been set back to an older state, messages are compared with what is known, and
no row is recorded for another message than its own (`identity`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial

from sqlalchemy import Connection

from syncd.imap.connection import ImapConnection
from syncd.imap.news.observe import (
    Cursor,
    Demoted,
    KnownMailbox,
    Renumbered,
    Rung,
    Selected,
    ServerChanges,
    observe_changes,
)
from syncd.imap.quirks import Quirks
from syncd.imap.types import FetchRow, SelectResult
from syncd.log import log
from syncd.mail.uidset import UID_MAX, UidSet
from syncd.store.engine.database import Database
from syncd.store.trees import accounts, server_tree
from syncd.store.trees.accounts import MailboxCursor, MailboxRow
from syncd.store.trees.server_tree import ObservedMessage
from syncd.sync.imap.identity import RenumberedError, ensure_same, find_unlike, set_adrift
from syncd.sync.imap.observed import known_cursor, observed_of
from syncd.sync.imap.suspicions import Suspicions, Verdict
from syncd.values import Record, Value, field

_ROWS_AT_ONCE = 1000


class Look(Value):
    """Record what changed in one mailbox of a server."""

    db: Database
    connection: ImapConnection
    mailbox: MailboxRow
    suspicions: Suspicions
    quirks: Quirks
    clock: Callable[[], float]
    is_first: bool
    """Whether it is the first look of its connection."""
    on_new: Callable[[Sequence[FetchRow]], Awaitable[None]] | None = None
    """Hears of rows of new messages before they are recorded."""

    async def run(self, ceiling: Rung) -> Rung:
        """Record what changed since the cursor, and return the highest rung to try the next time.

        What seems to be gone and is extraordinary is recorded later, or never (`suspicions`); then the cursor stays.
        """
        known = KnownMailbox(known_cursor(self.mailbox), uids=self._known_uids)
        selected: SelectResult | None = None
        compared: _Compared | None = None
        rows: dict[int, ObservedMessage] = {}
        changes = observe_changes(
            self.connection,
            self.mailbox.wire_name,
            known,
            ceiling=ceiling,
            quirks=self.quirks,
            is_first=self.is_first,
        )
        async with aclosing(changes) as observed:
            async for one in observed:
                match one:
                    case Selected(result, rung, is_compared):
                        selected = result
                        compared = _Compared(result.uidnext) if is_compared else None
                        log.debug("mailbox_selected", mailbox_id=self.mailbox.id, rung=rung.name)
                    case Renumbered():
                        raise RenumberedError("the server gave this mailbox a new uidvalidity")
                    case Demoted(rung, reason):
                        ceiling = min(ceiling, rung)
                        log.warning("rung_demoted", mailbox_id=self.mailbox.id, rung=rung.name, reason=reason)
                    case ServerChanges():
                        came: Sequence[ObservedMessage] = observed_of(one.rows)
                        if compared is not None:
                            came = await self._compare(one, came, compared)
                        elif self.on_new is not None:
                            new = [row for row in one.rows if row.uid >= known.cursor.uidnext]
                            await self.on_new(new)
                        if one.cursor is not None:
                            await self._record_end(one, tuple(rows.values()), came, selected)
                            continue
                        if len(rows) + len(came) > _ROWS_AT_ONCE or any(row.uid in rows for row in came):
                            await self._record_rows(tuple(rows.values()))
                            rows = {}
                        rows |= {row.uid: row for row in came}
        return ceiling

    async def _compare(
        self, changes: ServerChanges, rows: Sequence[ObservedMessage], compared: "_Compared"
    ) -> Sequence[ObservedMessage]:
        """Return the rows to record: what is not as it was waits for the end, when its header can be asked for."""
        compared.highest = max(compared.highest, *(row.uid for row in rows), 0)
        unlike = {one.uid for one in await find_unlike(self.db, self.mailbox, rows)}
        compared.withheld += [row for row in rows if row.uid in unlike]
        if changes.cursor is None:
            return [row for row in rows if row.uid not in unlike]
        await ensure_same(self.db, self.connection, self.mailbox, compared.withheld)
        uidnext = compared.uidnext or UID_MAX
        if changes.vanished and changes.vanished.highest >= uidnext > compared.highest:
            await set_adrift(self.db, self.mailbox, "the newest messages are gone and their uids are free again")
        return [*(row for row in rows if row.uid not in unlike), *compared.withheld]

    async def _record_rows(self, observed: Sequence[ObservedMessage]) -> None:
        if observed:
            await self.db.write(partial(self._write_rows, observed=observed, now=self.clock()))

    def _write_rows(self, conn: Connection, *, observed: Sequence[ObservedMessage], now: float) -> None:
        if observed:
            uidvalidity = self.mailbox.cursor.uidvalidity
            server_tree.record_messages(conn, self.mailbox.id, uidvalidity, observed, now=now, is_told=True)

    async def _record_end(
        self,
        changes: ServerChanges,
        before_that: Sequence[ObservedMessage],
        observed: Sequence[ObservedMessage],
        selected: SelectResult | None,
    ) -> None:
        """Record what is gone, the cursor and the last rows; before_that: those that are recorded if it is doubted."""
        before, after, now = self.mailbox.cursor, changes.cursor, self.clock()
        assert after is not None  # noqa: S101  # it is what makes it the end
        moved = _moved(before, after, selected)

        def record(conn: Connection) -> None:
            self._write_rows(conn, observed=observed, now=now)
            server_tree.record_vanished(
                conn, self.mailbox.id, before.uidvalidity, changes.vanished, now=now, is_told=True
            )
            accounts.move_cursor(conn, self.mailbox.id, moved, is_listed=True)

        def record_all(conn: Connection) -> None:
            self._write_rows(conn, observed=before_that, now=now)
            record(conn)

        verdict = self._judge(changes.vanished)
        if verdict is not Verdict.ORDINARY:
            await self._record_rows(before_that)
        if verdict is Verdict.CONFIRMED:
            self.suspicions.confirm(self.mailbox.id, record)
        elif verdict is Verdict.DOUBTED:
            self.suspicions.doubt(self.mailbox.id, before.uidvalidity, record)
        elif before_that or observed or changes.vanished or moved != before:
            await self.db.write(record_all)

    def _judge(self, vanished: UidSet) -> Verdict:
        known, now = self.mailbox.cursor.exists_count, asyncio.get_running_loop().time()
        return self.suspicions.judge(self.mailbox.id, vanished, known=known, now=now)

    async def _known_uids(self, among: UidSet | None) -> UidSet:
        of, uidvalidity = self.mailbox.id, self.mailbox.cursor.uidvalidity
        return await self.db.read(partial(server_tree.known_uids, mailbox_id=of, uidvalidity=uidvalidity, among=among))


def _moved(before: MailboxCursor, after: Cursor, selected: SelectResult | None) -> MailboxCursor:
    return MailboxCursor(
        uidvalidity=after.uidvalidity,
        uidnext=after.uidnext,
        highestmodseq=after.highestmodseq,
        exists_count=after.count,
        permanent_flags=selected.permanent_flags if selected else before.permanent_flags,
        accepts_keywords=selected.accepts_keywords if selected else before.accepts_keywords,
    )


class _Compared(Record):
    """Remember of a look that compares messages what SELECT said, and the highest UID that was listed."""

    uidnext: int | None
    highest: int = 0
    withheld: list[ObservedMessage] = field(default_factory=list)
    """Rows that may be of other messages than their UIDs named."""
