"""Floor 4: the mailboxes of one IMAP account as its server lists them: new, renamed, gone, or doubted to be.

Theory. What LIST misses is gone only if STATUS does not know it either, some seconds later a new LIST misses it again
(`suspicions`), and it is none of those that were renamed (`renames`). Until then it is left alone. All mailboxes
are listed, whether the user subscribed to them or not: mail that no program shows is mail.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from sqlalchemy import Connection

from syncd.errors import ProtocolError, RefusedError
from syncd.imap.connection import ImapConnection
from syncd.imap.types import ListEntry, StatusRow
from syncd.log import log
from syncd.reconcile.mailboxes import ListChanges, Listed, compare_listing, sync_order
from syncd.store.engine.changed_rows import Topic
from syncd.store.files import refused_uploads
from syncd.store.mailboxes import listings
from syncd.store.mailboxes.listings import Renamed
from syncd.store.trees import accounts
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.imap.hidden_names import HiddenNames
from syncd.sync.imap.listing import listed_of
from syncd.sync.imap.mailbox_failures import MailboxFailures
from syncd.sync.imap.renames import Renames
from syncd.sync.imap.suspicions import Suspicions
from syncd.sync.remembered import Remembered
from syncd.values import replace


class ImapMailboxes:
    """Know which mailboxes an account has; `list` asks its server."""

    def __init__(
        self,
        account: ServedAccount,
        patterns: tuple[str, ...],
        *,
        suspicions: Suspicions,
        failures: MailboxFailures,
        on_change: Callable[[], None],
    ) -> None:
        """Call `on_change` when devices may have something to do."""
        self._account = account
        self._db = account.db
        self.patterns = patterns
        self._suspicions = suspicions
        self._failures = failures
        self._clock = account.clock
        self._on_change = on_change
        self._hidden = HiddenNames(account.db, clock=account.clock)
        self._absent: frozenset[bytes] = frozenset()
        self._is_recorded = False
        self._synced: tuple[Sequence[MailboxRow], frozenset[bytes], Sequence[MailboxRow]] = (), frozenset(), ()
        self._known = Remembered(
            account.db, lambda conn, id_: accounts.mailboxes(conn, account_id=id_), reads=lambda _: {Topic.MAILBOXES}
        )

    async def known(self) -> Sequence[MailboxRow]:
        """Return all mailboxes that the server has listed, synced or not."""
        return await self._known.get(self._account.id)

    async def synced(self) -> Sequence[MailboxRow]:
        """Return the mailboxes that are synced, in the order in which they are, without what the last LIST missed."""
        rows = await self.known()
        if self._synced[0] is not rows or self._synced[1] != self._absent:
            synced = [row for row in rows if row.is_synced and row.wire_name not in self._absent]
            synced.sort(key=lambda row: sync_order(row.name, row.special_use))
            self._synced = rows, self._absent, synced
        return self._synced[2]

    @property
    def is_quiet(self) -> bool:
        """Tell whether the last LIST missed nothing."""
        return self._is_recorded and not self._absent

    async def list(self, connection: ImapConnection) -> dict[bytes, StatusRow]:
        """Ask what the server lists, and `record` it."""
        return await self.record(connection, await connection.list_mailboxes(with_status=True))

    async def record(self, connection: ImapConnection, entries: Sequence[ListEntry]) -> dict[bytes, StatusRow]:
        """Record what the server has just listed, and return the counts of those mailboxes for which it gave them.

        What is believed to be gone is left to the suspicions, to be recorded with what else is; what was selected may
        be so no more.
        """
        known = await self.known()
        entries = await self._with_own_names(connection, known, entries)
        # NOTE: of the selected mailbox, Dovecot's STATUS tells what this session has seen, which may be old.
        counted = [entry for entry in entries if entry.octets != connection.selected]
        listed = {entry.octets: listed_of(entry, self.patterns) for entry in entries}
        changes = compare_listing({row.wire_name: accounts.listed(row) for row in known}, listed.values())
        renamed = await Renames(self._db, connection).find(known, listed, entries, changes)
        if renamed:
            changes = _apart_from(renamed, changes, known, listed)
        missed = {name for name in changes.missed if name in listed or not await _is_there(connection, name)}
        if changes.added or changes.changed or renamed or not self._is_recorded:
            await self._db.write(partial(self._record, changes=changes, renamed=renamed))
            self._is_recorded = True
        if renamed:
            known = await self.known()
            missed |= {row.wire_name for row in known if listings.is_nowhere(row.wire_name)}
        self._absent = frozenset(missed)
        self._believe(missed, known)
        for one in renamed:
            self._failures.forget(one.mailbox_id)
        if changes.added or changes.changed or renamed or missed:
            counts = {"added": len(changes.added), "renamed": len(renamed), "missed": len(missed)}
            log.info("mailboxes_listed", account=self._account.name, **counts)
            self._on_change()
        return {entry.octets: entry.status for entry in counted if entry.status is not None}

    async def _with_own_names(
        self, connection: ImapConnection, known: Iterable[MailboxRow], entries: Sequence[ListEntry]
    ) -> Sequence[ListEntry]:
        """Give mailboxes their names again that were about to be deleted when a connection ended; return a LIST then.

        Whether they are to be deleted still is decided by those; and nobody is to have them under the others, so that
        one which the server does not rename is taken for the one that it was, and cannot be read.
        """
        names = {entry.octets for entry in entries}
        unlisted = [row for row in known if row.wire_name not in names]
        hidden = await self._hidden.find(unlisted, names) if unlisted else {}
        if not hidden:
            return entries
        for octets, row in hidden.items():
            try:
                await connection.rename(octets, row.wire_name)
            except RefusedError as error:
                log.warning("mailbox_not_renamed_back", account=self._account.name, mailbox_id=row.id, error=str(error))
        entries = await connection.list_mailboxes(with_status=True)
        names = {entry.octets for entry in entries}
        left = {octets: row.wire_name for octets, row in hidden.items() if row.wire_name not in names}
        return [replace(entry, octets=left[entry.octets]) if entry.octets in left else entry for entry in entries]

    def _record(self, conn: Connection, *, changes: ListChanges, renamed: Sequence[Renamed]) -> None:
        now = self._clock()
        listings.record_listing(conn, account_id=self._account.id, changes=changes, renamed=renamed, now=now)
        if renamed:
            refused_uploads.hurry(conn, account_id=self._account.id)

    def _believe(self, missed: Collection[bytes], known: Iterable[MailboxRow]) -> None:
        """Let those be recorded as gone that were missed long enough."""
        now = self._clock()
        believed = self._suspicions.believe_unlisted(missed, now=asyncio.get_running_loop().time())
        for row in known:
            if row.wire_name in believed:
                record = partial(listings.record_gone, mailbox_id=row.id, now=now)
                self._suspicions.forget(row.id)
                self._suspicions.confirm_gone(record)


async def _is_there(connection: ImapConnection, wire_name: bytes) -> bool:
    """Tell whether the server knows a mailbox that it does not list; only a NO says that it does not."""
    if listings.is_nowhere(wire_name):
        return False
    try:
        await connection.status(wire_name)
    except RefusedError:
        return False
    except ProtocolError:
        if not connection.is_usable:
            raise
    return True


def _apart_from(
    renamed: Iterable[Renamed], changes: ListChanges, known: Iterable[MailboxRow], listed: Mapping[bytes, Listed]
) -> ListChanges:
    """Return what a LIST says beside renames; under the old name of a mailbox there may be a new one."""
    taken = {one.entry.wire_name for one in renamed}
    ids = {one.mailbox_id for one in renamed}
    left = {row.wire_name for row in known if row.id in ids}
    anew = [listed[name] for name in left - taken if name in listed]
    return replace(
        changes,
        added=(*(entry for entry in changes.added if entry.wire_name not in taken), *anew),
        changed=tuple(entry for entry in changes.changed if entry.wire_name not in taken | left),
        missed=tuple(name for name in changes.missed if name not in taken | left),
    )
