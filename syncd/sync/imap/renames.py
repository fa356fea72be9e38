"""Floor 4: mailboxes that were renamed on an IMAP server, proved by what is in them.

Theory. Where a LIST misses mailboxes and has others, or has one with another identity under a known name, each of the
missed may be one of the others (`reconcile.renames`). Where no MAILBOXID says so, that one is selected, its UIDs are
searched, and size and date of the newest known ones are compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from syncd.errors import ProtocolError, RefusedError
from syncd.imap.connection import ImapConnection
from syncd.imap.news.observe import list_uids
from syncd.imap.types import ListEntry, StatusRow
from syncd.log import log
from syncd.mail.uidset import UidSet
from syncd.reconcile.mailboxes import ListChanges, Listed
from syncd.reconcile.renames import Candidate, Standing, are_same_messages, candidates
from syncd.store.engine.database import Database
from syncd.store.mailboxes.listings import Renamed
from syncd.store.trees import server_tree
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.imap.identity import fetch_facts
from syncd.sync.imap.observed import observed_of
from syncd.values import Value

_COMPARED = 200
_TRIES_MAX = 8
"""How many mailboxes are looked at for each that is missed."""


class Renames(Value):
    """Find what was renamed, by one connection; afterwards another mailbox may be selected."""

    db: Database
    connection: ImapConnection

    async def find(
        self,
        known: Iterable[MailboxRow],
        listed: Mapping[bytes, Listed],
        entries: Iterable[ListEntry],
        changes: ListChanges,
    ) -> tuple[Renamed, ...]:
        """Return the mailboxes that are listed under other names than they are known by."""
        rows = {row.id: row for row in known}
        told = {entry.octets: entry.status for entry in entries if entry.status is not None}
        replaced = {row.id: row for row in rows.values() if _is_replaced(row, told.get(row.wire_name))}
        lost = {row.id: row for row in rows.values() if row.wire_name in changes.missed} | replaced
        new = [entry.wire_name for entry in changes.added if entry.is_selectable]
        new += [row.wire_name for row in replaced.values() if row.wire_name in listed]
        if not lost or not new:
            return ()
        statuses = {wire_name: told.get(wire_name) or await self._status(wire_name) for wire_name in new}
        found = candidates(
            {id_: _standing_of(row) for id_, row in lost.items()},
            {
                wire_name: Standing(
                    listed[wire_name].name, status.uidvalidity or 0, status.uidnext or 0, status.object_id
                )
                for wire_name, status in statuses.items()
                if status is not None
            },
        )
        return await self._proven(found, lost, listed)

    async def _proven(
        self, found: Sequence[Candidate], lost: Mapping[int, MailboxRow], listed: Mapping[bytes, Listed]
    ) -> tuple[Renamed, ...]:
        renamed: dict[int, Renamed] = {}
        taken: set[bytes] = set()
        tries: dict[int, int] = {}
        for one in found:
            if one.mailbox_id in renamed or one.wire_name in taken or tries.get(one.mailbox_id, 0) >= _TRIES_MAX:
                continue
            tries[one.mailbox_id] = tries.get(one.mailbox_id, 0) + 1
            if one.is_proven or await self._is_same(lost[one.mailbox_id], one):
                renamed[one.mailbox_id] = Renamed(one.mailbox_id, listed[one.wire_name])
                taken.add(one.wire_name)
        return tuple(renamed.values())

    async def _is_same(self, row: MailboxRow, one: Candidate) -> bool:
        """Compare what is in a mailbox with what is recorded of another."""
        cursor = row.cursor
        of = partial(server_tree.known_uids, mailbox_id=row.id, uidvalidity=cursor.uidvalidity)
        known = await self.db.read(of)
        try:
            selected = await self.connection.select(one.wire_name)
            if selected.uidvalidity != cursor.uidvalidity:
                return False
            listing = await list_uids(self.connection)
            if not listing.is_complete:
                return False
            here = listing.uids & UidSet.span(1, cursor.uidnext - 1)
            if not row.is_listed:
                here &= known  # not all of it is recorded yet
            observed = observed_of(await fetch_facts(self.connection, (here & known).newest(_COMPARED)))
        except (RefusedError, ProtocolError) as error:
            if not self.connection.is_usable:
                raise
            log.info("rename_not_proved", mailbox_id=row.id, error=str(error))
            return False
        compare = partial(
            server_tree.unlike_messages, mailbox_id=row.id, uidvalidity=cursor.uidvalidity, observed=observed
        )
        unlike = await self.db.read(compare)
        return are_same_messages(known, here, unlike=len(unlike), is_only=one.is_only)

    async def _status(self, wire_name: bytes) -> StatusRow | None:
        try:
            return await self.connection.status(wire_name)
        except (RefusedError, ProtocolError):
            if not self.connection.is_usable:
                raise
            return None


def _is_replaced(row: MailboxRow, status: StatusRow | None) -> bool:
    """Tell whether there is another mailbox under a name; without a MAILBOXID it may be the same, made anew."""
    if status is None or row.name.is_inbox:
        return False
    if row.object_id and status.object_id:
        return row.object_id != status.object_id
    return 0 not in {row.cursor.uidvalidity, status.uidvalidity or 0} and row.cursor.uidvalidity != status.uidvalidity


def _standing_of(row: MailboxRow) -> Standing:
    return Standing(row.name, row.cursor.uidvalidity, row.cursor.uidnext, row.object_id)
