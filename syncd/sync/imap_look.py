"""Floor 4: one look at a mailbox on its server: what changed since its cursor, believed or doubted, and recorded.

Theory. Rows are recorded as they come; what is gone comes last, with the cursor. It is doubted if it is extraordinary
(`suspicions`). A server may have been set back to an older state. Where that may be so sizes and dates are compared;
if known UIDs name other messages, or the newest are gone and their UIDs free again, the mailbox is set *adrift*: it is
to be read by content, like one that was renumbered.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from sqlalchemy import Connection

from syncd.errors import ProtocolError, Reach
from syncd.imap.connection import ImapConnection
from syncd.imap.observe import Cursor, Demoted, KnownMailbox, Renumbered, Rung, Selected, ServerChanges, observe_changes
from syncd.imap.quirks import Quirks
from syncd.imap.types import SelectResult
from syncd.log import log
from syncd.mail.uidset import UID_MAX, UidSet
from syncd.store import accounts, renumbering, server_tree
from syncd.store.accounts import MailboxCursor, MailboxRow
from syncd.store.database import Database
from syncd.sync.imap_observed import observed_of
from syncd.sync.suspicions import Suspicions, Verdict


class RenumberedError(ProtocolError):
    """The mailbox has another UIDVALIDITY than its rows."""

    reach = Reach.MAILBOX


@dataclass(frozen=True, slots=True)
class Look:
    """Record what changed in one mailbox of a server."""

    db: Database
    connection: ImapConnection
    mailbox: MailboxRow
    suspicions: Suspicions
    quirks: Quirks
    clock: Callable[[], float]
    is_first: bool
    """Whether it is the first look of its connection."""

    async def run(self, ceiling: Rung) -> Rung:
        """Record what changed since the cursor, and return the highest rung to try the next time.

        What seems to be gone and is extraordinary is recorded later, or never (`suspicions`); then the cursor stays.
        """
        cursor = self.mailbox.cursor
        known = KnownMailbox(
            Cursor(cursor.uidvalidity, cursor.uidnext, cursor.highestmodseq, cursor.exists_count),
            uids=self._known_uids,
        )
        selected: SelectResult | None = None
        compared: _Compared | None = None
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
                        if compared is not None and (why := await self._went_back(one, compared)):
                            await set_adrift(self.db, self.mailbox, why)
                        await self._record_changes(one, selected)
        return ceiling

    async def _went_back(self, changes: ServerChanges, compared: "_Compared") -> str | None:
        """Say what shows that the server has other messages under known UIDs, or None."""
        compared.highest = max(compared.highest, *(row.uid for row in changes.rows), 0)
        find = partial(
            server_tree.other_messages,
            mailbox_id=self.mailbox.id,
            uidvalidity=self.mailbox.cursor.uidvalidity,
            observed=observed_of(changes.rows),
        )
        if await self.db.read(find):
            return "known uids name other messages"
        uidnext = compared.uidnext or UID_MAX
        if changes.vanished and changes.vanished.highest >= uidnext > compared.highest:
            return "the newest messages are gone and their uids are free again"
        return None

    async def _record_changes(self, changes: ServerChanges, selected: SelectResult | None) -> None:
        before, after, now = self.mailbox.cursor, changes.cursor, self.clock()
        observed = observed_of(changes.rows)

        def record(conn: Connection) -> None:
            server_tree.record_messages(conn, self.mailbox.id, before.uidvalidity, observed)
            server_tree.record_vanished(conn, self.mailbox.id, before.uidvalidity, changes.vanished, now=now)
            if after is not None:
                moved = MailboxCursor(
                    uidvalidity=after.uidvalidity,
                    uidnext=after.uidnext,
                    highestmodseq=after.highestmodseq,
                    exists_count=after.count,
                    permanent_flags=selected.permanent_flags if selected else before.permanent_flags,
                    accepts_keywords=selected.accepts_keywords if selected else before.accepts_keywords,
                )
                accounts.move_cursor(conn, self.mailbox.id, moved, is_listed=True, now=now)

        verdict = Verdict.ORDINARY if after is None else self._judge(changes.vanished)
        if verdict is Verdict.CONFIRMED:
            self.suspicions.confirm(self.mailbox.id, record)
        elif verdict is Verdict.ORDINARY and (observed or changes.vanished or after is not None):
            await self.db.write(record)

    def _judge(self, vanished: UidSet) -> Verdict:
        known, now = self.mailbox.cursor.exists_count, asyncio.get_running_loop().time()
        return self.suspicions.judge(self.mailbox.id, vanished, known=known, now=now)

    async def _known_uids(self) -> UidSet:
        uidvalidity = self.mailbox.cursor.uidvalidity
        return await self.db.read(partial(server_tree.known_uids, mailbox_id=self.mailbox.id, uidvalidity=uidvalidity))


async def set_adrift(db: Database, mailbox: MailboxRow, why: str) -> NoReturn:
    """Let a mailbox be read anew by content, since UIDs of it name other messages than they did."""
    log.warning("server_went_back", mailbox_id=mailbox.id, reason=why)
    uidvalidity = mailbox.cursor.uidvalidity
    await db.write(partial(renumbering.set_adrift, mailbox_id=mailbox.id, uidvalidity=uidvalidity))
    raise RenumberedError("the server went back to an older state of this mailbox")


@dataclass(slots=True)
class _Compared:
    """Remember of a look that compares messages what SELECT said, and the highest UID that was listed."""

    uidnext: int | None
    highest: int = 0
