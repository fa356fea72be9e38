"""Floor 4: the task of one IMAP account: it owns the connection, and what it observes becomes the server tree.

Theory. A *pass* lists the mailboxes, then goes through those that changed, in three sweeps: the newest rows and bodies
of a mailbox never seen, all rows, all bodies newest first. Between mailboxes and bodies it *pushes*: what devices
changed goes to the server before anything else. At rest it waits in IDLE on INBOX, or for the poll where there is no
IDLE, and a wake-up ends the wait. An error that reaches a message or a mailbox is recorded there; any other ends the
connection and the run. The supervisor starts another run, and what was recorded is where it goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import structlog

from syncd.config.model import ImapConfig
from syncd.errors import Reach, SyncdError
from syncd.imap.connection import ImapConnection
from syncd.imap.endpoint import Endpoint
from syncd.imap.limits import Limits
from syncd.imap.observe import Rung
from syncd.imap.push import wait_for_news
from syncd.imap.quirks import NONE, quirks_of
from syncd.imap.types import ListEntry, StatusRow
from syncd.mail.mailbox import from_wire, is_selected
from syncd.reconcile.mailboxes import Listed, compare_listing, sync_order
from syncd.store import accounts, devices
from syncd.store.accounts import MailboxRow
from syncd.store.database import Database
from syncd.sync.activity import Activity
from syncd.sync.imap_mailbox import ImapMailbox, RenumberedError
from syncd.sync.policies import Takers
from syncd.sync.requests import Requests
from syncd.sync.server_round import server_round
from syncd.sync.wakes import Wakes

log = structlog.get_logger()

_PUSH_ROUNDS_MAX = 10
_NEWEST_BODIES = 100


class ImapAccount:
    """Keep the server tree of one IMAP account; `run` serves it for as long as the connection holds."""

    def __init__(
        self,
        db: Database,
        name: str,
        config: ImapConfig,
        *,
        account_id: int,
        password: Callable[[], Awaitable[str]],
        takers: Takers,
        wakes: Wakes,
        activity: Activity,
        clock: Callable[[], float],
        spool_directory: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Call `password` at each connection; `requests` asks for a whole pass."""
        self._db = db
        self._name = name
        self._config = config
        self._account_id = account_id
        self._password = password
        self._takers = takers
        self._wakes = wakes
        self._activity = activity
        self._clock = clock
        self._spool_directory = spool_directory
        self._limits = limits or Limits()
        self._ceilings: dict[int, Rung] = {}
        self._quirks = NONE
        self.requests = Requests(wakes.account(name))
        self._fetched = 0

    async def run(self) -> None:
        """Connect and serve the account until cancelled; raises what ended the connection."""
        try:
            connection = await self._connect()
            try:
                await self._serve(connection)
            except asyncio.CancelledError:
                await asyncio.shield(connection.logout())
                raise
            finally:
                await connection.aclose()
        except SyncdError as error:
            self.requests.fail(error)
            raise

    async def _connect(self) -> ImapConnection:
        self._activity.now("connecting", self._clock())
        config = self._config
        endpoint = Endpoint(
            config.host,
            config.port,
            tls=config.tls.value,
            ca_file=config.ca_file,
            allow_plaintext=config.allow_plaintext,
        )
        connection = await ImapConnection.open(endpoint, self._limits)
        try:
            await connection.login(config.username, await self._password())
            await connection.identify()
            await connection.enable("QRESYNC" if "QRESYNC" in connection.capabilities else "CONDSTORE")
        except BaseException:
            await connection.aclose()
            raise
        self._quirks = quirks_of(config.host, connection.capabilities)
        self._activity.mode = "push" if "IDLE" in connection.capabilities else "poll: no IDLE"
        self._activity.error = self._activity.retry_at = None
        log.info("account_connected", account=self._name)
        return connection

    async def _serve(self, connection: ImapConnection) -> None:
        wake = self._wakes.account(self._name)
        passed_at: float | None = None
        while True:
            wake.clear()
            await self._push(connection)
            asked = self.requests.take()
            if asked or passed_at is None or self._clock() - passed_at >= self._config.poll_interval_s:
                passed_at = self._clock()
                await self._pass(connection)
                self.requests.answer()
            elif connection.has_events:
                await self._look_at_inbox(connection)
            if not wake.is_set():
                self._activity.now("idle", self._clock())
                left_s = passed_at + self._config.poll_interval_s - self._clock()
                await self._select_inbox(connection)
                await wait_for_news(connection, wake=wake, timeout_s=max(left_s, 0.0))

    # Server to store.

    async def _pass(self, connection: ImapConnection) -> None:
        self._activity.now("listing mailboxes", self._clock())
        statuses = await self._list(connection)
        changed = [row for row in await self._mailboxes() if not _is_unchanged(row, statuses.get(row.wire_name))]
        for mailbox in changed:
            if not mailbox.is_listed:
                await self._guarded(connection, mailbox, self._list_newest)
        for mailbox in changed:
            await self._guarded(connection, mailbox, self._read_rows)
        for mailbox in await self._mailboxes():
            await self._guarded(connection, mailbox, self._read_bodies)
        now = self._clock()
        await self._db.write(partial(accounts.record_success, account_id=self._account_id, now=now))

    async def _look_at_inbox(self, connection: ImapConnection) -> None:
        connection.drain_events()  # the look at the mailbox says what they said
        for mailbox in await self._mailboxes():
            if mailbox.wire_name == connection.selected:
                await self._guarded(connection, mailbox, self._read_rows)
                await self._guarded(connection, mailbox, self._read_bodies)

    async def _list(self, connection: ImapConnection) -> dict[bytes, StatusRow]:
        """Record the mailboxes, and return the counts of those for which the server gave them."""
        entries = await connection.list_mailboxes(with_status=True)
        known = await self._db.read(partial(accounts.mailboxes, account_id=self._account_id))
        changes = compare_listing(
            {row.wire_name: accounts.listed(row) for row in known},
            [_listed(entry, self._config.mailboxes) for entry in entries],
        )
        now = self._clock()
        await self._db.write(partial(accounts.record_listing, account_id=self._account_id, changes=changes, now=now))
        if changes.added or changes.missed:
            log.info("mailboxes_listed", account=self._name, added=len(changes.added), missed=len(changes.missed))
            self._wake_devices()
        # NOTE: of the selected mailbox, Dovecot's STATUS tells what this session has seen, which may be old.
        counted = (entry for entry in entries if entry.octets != connection.selected)
        return {entry.octets: entry.status for entry in counted if entry.status is not None}

    async def _list_newest(self, observer: ImapMailbox, mailbox: MailboxRow) -> None:
        self._activity.now(f"listing {mailbox.name}", self._clock())
        await observer.list_rows(only_newest=True)
        listed = await self._db.read(partial(accounts.mailbox_by_id, mailbox_id=mailbox.id))
        selections = self._takers.selections(self._name, mailbox.name, now=self._clock())
        newest = self._observer(observer.connection, listed)
        await newest.fetch_bodies(selections, newest=_NEWEST_BODIES, on_commit=self._on_commit)

    async def _read_rows(self, observer: ImapMailbox, mailbox: MailboxRow) -> None:
        self._activity.now(f"reading {mailbox.name}", self._clock())
        if not mailbox.is_listed:
            await observer.list_rows(only_newest=False)
        else:
            self._ceilings[mailbox.id] = await observer.observe(self._ceilings.get(mailbox.id, Rung.QRESYNC))
        self._wake_devices()

    async def _read_bodies(self, observer: ImapMailbox, mailbox: MailboxRow) -> None:
        if not mailbox.is_listed:
            return
        while True:
            selections = self._takers.selections(self._name, mailbox.name, now=self._clock())
            self._activity.now(f"fetching {mailbox.name}", self._clock(), done=self._fetched)
            if not await observer.fetch_bodies(selections, on_commit=self._on_commit):
                return
            await self._push(observer.connection)

    async def _guarded(
        self,
        connection: ImapConnection,
        mailbox: MailboxRow,
        read: Callable[[ImapMailbox, MailboxRow], Awaitable[None]],
    ) -> None:
        """Read one mailbox; trouble that reaches no further than it is recorded there, and the others go on."""
        await self._push(connection)
        fresh = await self._db.read(partial(accounts.mailbox_by_id, mailbox_id=mailbox.id))
        observer = self._observer(connection, fresh)
        try:
            try:
                await read(observer, fresh)
            except RenumberedError:
                await observer.renumber()
                self._wake_devices()
        except SyncdError as error:
            if error.reach not in {Reach.MESSAGE, Reach.MAILBOX} or not connection.is_usable:
                raise
            text = str(error)
            log.warning("mailbox_failed", account=self._name, mailbox_id=mailbox.id, error=text)
            await self._db.write(partial(accounts.record_mailbox_error, mailbox_id=mailbox.id, error=text))

    # Store to server.

    async def _push(self, connection: ImapConnection) -> None:
        """Bring to the server what devices changed."""
        for _ in range(_PUSH_ROUNDS_MAX):
            news = await self._db.read(partial(devices.replicas, account_id=self._account_id))
            changed = {replica.mailbox_id for replica in news if replica.has_replica_news}
            if not changed:
                return
            overtaken = False
            for mailbox in await self._mailboxes():
                if mailbox.id in changed and mailbox.is_listed:
                    overtaken |= await self._push_mailbox(connection, mailbox)
                changed.discard(mailbox.id)
            if not overtaken:
                return

    async def _push_mailbox(self, connection: ImapConnection, mailbox: MailboxRow) -> bool:
        self._activity.now(f"storing flags in {mailbox.name}", self._clock())
        observer = self._observer(connection, mailbox)
        replicas = await self._takers.replicas(self._db, self._name, mailbox, now=self._clock())
        try:
            result = await server_round(self._db, observer, mailbox, replicas, now=self._clock())
            if result.is_stale:
                await self._read_rows(observer, mailbox)
        except SyncdError as error:
            if error.reach not in {Reach.MESSAGE, Reach.MAILBOX} or not connection.is_usable:
                raise
            text = str(error)
            await self._db.write(partial(accounts.record_mailbox_error, mailbox_id=mailbox.id, error=text))
            return False
        if result.effects:
            self._wake_devices()
        return result.is_stale

    # Small parts.

    def _observer(self, connection: ImapConnection, mailbox: MailboxRow) -> ImapMailbox:
        return ImapMailbox(
            self._db,
            connection,
            mailbox,
            quirks=self._quirks,
            spool_directory=self._spool_directory,
            clock=self._clock,
        )

    async def _mailboxes(self) -> Sequence[MailboxRow]:
        rows = await self._db.read(partial(accounts.mailboxes, account_id=self._account_id))
        synced = [row for row in rows if row.is_synced]
        return sorted(synced, key=lambda row: sync_order(row.name, row.special_use))

    async def _select_inbox(self, connection: ImapConnection) -> None:
        for mailbox in await self._mailboxes():
            if mailbox.name.is_inbox and connection.selected != mailbox.wire_name:
                await connection.select(mailbox.wire_name, condstore="CONDSTORE" in connection.capabilities)

    def _on_commit(self, count: int) -> None:
        self._fetched += count
        self._activity.done = self._fetched
        log.info("bodies_committed", account=self._name, count=count)
        self._wake_devices()

    def _wake_devices(self) -> None:
        for device in self._takers.devices_of(self._name):
            self._wakes.device(device).set()


def _listed(entry: ListEntry, patterns: tuple[str, ...]) -> Listed:
    name = from_wire(entry.octets, entry.delimiter)
    return Listed(entry.octets, name, entry.delimiter, entry.attributes, is_selected(name, patterns))


def _is_unchanged(mailbox: MailboxRow, status: StatusRow | None) -> bool:
    """Tell whether counts alone prove that nothing changed; without mod-sequences flags may have."""
    cursor = mailbox.cursor
    if status is None or not mailbox.is_listed or status.highestmodseq is None or cursor.highestmodseq is None:
        return False
    return (status.uidvalidity, status.uidnext, status.highestmodseq, status.messages) == (
        cursor.uidvalidity,
        cursor.uidnext,
        cursor.highestmodseq,
        cursor.exists_count,
    )
