"""Floor 4: the task of one IMAP account: it owns the connection, and what it observes becomes the server tree.

Theory. A *pass* lists the mailboxes, then goes through those that changed, in three sweeps: the newest rows and bodies
of a mailbox never seen, all rows, all bodies newest first. Between mailboxes and bodies it *pushes*: what devices
changed goes to the server before anything else. At rest it waits in IDLE on INBOX, or for the poll where there is no
IDLE, and a wake-up ends the wait. An error that reaches a message or a mailbox is recorded there; any other ends the
connection and the run. The supervisor starts another run, and what was recorded is where it goes on. New mail in INBOX
waits for nothing: during a long pass INBOX is looked at now and then, and before resting there it is compared with what
is known, since SELECT reports no event.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from syncd.config.model import ImapConfig
from syncd.errors import SyncdError
from syncd.imap.connection import ImapConnection
from syncd.imap.endpoint import Endpoint
from syncd.imap.limits import Limits
from syncd.imap.observe import Rung
from syncd.imap.push import wait_for_news
from syncd.imap.quirks import NONE, quirks_of
from syncd.imap.types import StatusRow
from syncd.log import log
from syncd.reconcile.mailboxes import compare_listing, sync_order
from syncd.store import accounts, server_tree, troubles, uploads
from syncd.store.accounts import MailboxRow
from syncd.store.database import Database
from syncd.store.encoder import Encoder
from syncd.store.server_tree import mailboxes_with_due_bodies
from syncd.sync.activity import Activity
from syncd.sync.imap_identity import RenumberedError
from syncd.sync.imap_listing import has_arrivals, is_as_known, is_unchanged, listed_of
from syncd.sync.imap_mailbox import ImapMailbox
from syncd.sync.imap_push import ImapPush
from syncd.sync.latecomers import Latecomers
from syncd.sync.losses import Losses
from syncd.sync.mailbox_failures import MailboxFailures, Work
from syncd.sync.policies import Takers
from syncd.sync.poll_timer import PollTimer
from syncd.sync.recent_bodies import RecentBodies
from syncd.sync.requests import Asked, Requests
from syncd.sync.suspicions import SECOND_LOOK_S, Suspicions
from syncd.sync.wakes import Wakes

_NEWEST_BODIES = 100
_SECOND_LOOKS_MAX = 3
_GLANCE_S = 30.0
"""How long new mail in INBOX may go unnoticed during a pass."""


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
        encoder: Encoder,
        recent: RecentBodies,
        activity: Activity,
        clock: Callable[[], float],
        spool_directory: Path | None = None,
        limits: Limits | None = None,
        second_look_s: float = SECOND_LOOK_S,
    ) -> None:
        """Call `password` at each connection; `requests` asks for a whole pass."""
        self._db = db
        self._name = name
        self._config = config
        self._account_id = account_id
        self._password = password
        self._takers = takers
        self._wakes = wakes
        self._halves, self._was_interrupted = wakes.halves, True
        self._encoder = encoder
        self._recent = recent
        self._activity = activity
        self._clock = clock
        self._spool_directory = spool_directory
        self._limits = limits or Limits()
        self._ceilings: dict[int, Rung] = {}
        self._complete_at: dict[int, int] = {}
        self._seen: set[int] = set()
        self._latecomers = Latecomers(db, takers, name)
        self._glanced_at = 0.0
        self._quirks = NONE
        self._timer = PollTimer(config.poll_interval_s, clock=clock)
        self._losses = Losses()
        self._suspicions = Suspicions(name, rule=takers.rule, second_look_s=second_look_s)
        self._failures = MailboxFailures(db, name, self._losses)
        self._push = ImapPush(
            db,
            name,
            account_id=account_id,
            takers=takers,
            failures=self._failures,
            activity=activity,
            clock=clock,
            observer=self._observer,
            look=self._read_overtaken,
            on_change=self._wake_devices,
        )
        self.requests = Requests(wakes.account(name))
        self._fetched = 0

    async def run(self) -> None:
        """Connect and serve the account until cancelled; raises what ended the connection."""
        try:
            is_again = False
            while True:
                # NOTE: the connection before, or the process, may have ended between two halves.
                self._was_interrupted = True
                self._halves.begin(self._name)
                connection = await self._connect()
                try:
                    await self._serve(connection, is_again=is_again)
                except asyncio.CancelledError:
                    await asyncio.shield(connection.logout())
                    raise
                except SyncdError as error:
                    if connection.is_usable or not self._losses.may_connect_at_once():
                        raise
                    log.warning("connection_lost", account=self._name, error=str(error))
                    is_again = True
                finally:
                    self._let_go()
                    await connection.aclose()
        except SyncdError as error:
            self.requests.fail(error)
            raise
        finally:
            self._halves.end(self._name)

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
        self._seen.clear()
        self._activity.mode = "push" if "IDLE" in connection.capabilities else "poll: no IDLE"
        self._activity.error = self._activity.retry_at = None
        log.info("account_connected", account=self._name)
        return connection

    async def _serve(self, connection: ImapConnection, *, is_again: bool) -> None:
        """Serve until the connection ends; is_again: it takes the place of another in the middle of what was asked."""
        wake = self._wakes.account(self._name)
        is_first, has_news = True, False
        while True:
            wake.clear()
            asked = self.requests.take()
            is_new = not (is_first and is_again)
            if asked and is_new:
                self._failures.end_waits()
            if asked is Asked.LOOK and is_new:
                await self._db.write(partial(_hurry, account_id=self._account_id))
            with self._halves.unseen(self._name):
                await self._push.push(connection)
                await self._follow(connection)
            is_due = self._timer.is_due or self._second_look_s() == 0.0 or await self._latecomers.have_come()
            if asked or is_first or is_due:
                self._timer.begin()
                is_first = False
                await self._pass(connection)
                await self._look_again(connection, waits=bool(asked))
                self.requests.answer()
            elif has_news or connection.has_events:
                await self._look_at_selected(connection)
            await self._follow(connection)
            has_news = not wake.is_set() and await self._rest(connection, wake)

    async def _rest(self, connection: ImapConnection, wake: asyncio.Event) -> bool:
        """Wait in INBOX until there is something to do; tell whether INBOX has news that were no events."""
        if await self._select_inbox(connection):
            return True
        self._activity.now("idle", self._clock())
        self._let_go()
        waits_s = (
            self._timer.left_s,
            self._failures.shortest_wait_s(),
            self._push.wait_s(),
            self._second_look_s(),
        )
        with self._timer.waking(wake):
            timeout_s = min(wait_s for wait_s in waits_s if wait_s is not None)
            await wait_for_news(connection, wake=wake, timeout_s=timeout_s)
        return False

    # Server to store.

    async def _pass(self, connection: ImapConnection) -> None:
        self._activity.now("listing mailboxes", self._clock())
        began = self._glanced_at = asyncio.get_running_loop().time()
        statuses = await self._list(connection)
        rows = await self._mailboxes()
        changed = [
            row
            for row in rows
            if row.error or self._suspicions.has(row.id) or not is_unchanged(row, statuses.get(row.wire_name))
        ]
        listed, unlisted = ([row for row in changed if row.is_listed is is_listed] for is_listed in (True, False))
        (self._halves.begin if any(row.is_listed for row in rows) else self._halves.end)(self._name)
        for mailbox in unlisted:
            await self._guarded(connection, mailbox, self._list_newest)
        for mailbox in listed:
            await self._guarded(connection, mailbox, self._read_rows)
            await self._glance_at_inbox(connection)
        await self._record_confirmed()
        if self._was_interrupted or await self._has_vanished(listed):
            await self._bind_bodies(connection)
        self._was_interrupted = False
        self._halves.end(self._name)
        for mailbox in unlisted:
            await self._guarded(connection, mailbox, self._read_rows)
            await self._glance_at_inbox(connection)
        self._suspicions.end_pass(began)
        now = self._clock()
        due = await self._db.read(partial(mailboxes_with_due_bodies, account_id=self._account_id, now=now))
        for mailbox in await self._mailboxes():
            if mailbox.id in due or self._complete_at.get(mailbox.id) != mailbox.version:
                await self._guarded(connection, mailbox, self._read_bodies)
        if not self._suspicions:
            await self._db.write(partial(_succeeded, account_id=self._account_id, now=self._clock()))

    async def _look_again(self, connection: ImapConnection, *, waits: bool) -> None:
        """Give the server another chance, where somebody waits for a conclusion, to say what it seems to have lost."""
        for _ in range(_SECOND_LOOKS_MAX if waits else 0):
            wait_s = self._second_look_s()
            if wait_s is None:
                break
            self._activity.now("waiting whether what seems to be gone comes back", self._clock())
            await asyncio.sleep(wait_s)
            await self._pass(connection)

    async def _record_confirmed(self) -> None:
        """Record in one transaction what is confirmed to be gone, or to be elsewhere, so that devices see all of it."""
        for mailbox_id, uidvalidity, uids in self._suspicions.doubted():
            find = partial(server_tree.count_moved, mailbox_id=mailbox_id, uidvalidity=uidvalidity, uids=uids)
            self._suspicions.explain(mailbox_id, moved=await self._db.read(find))
        confirmed = self._suspicions.take_confirmed()
        if confirmed:
            await self._db.write(lambda conn: [record(conn) for record in confirmed])
            self._wake_devices()

    async def _look_at_selected(self, connection: ImapConnection) -> None:
        connection.drain_events()  # the look at the mailbox says what they said
        for mailbox in [row for row in await self._mailboxes() if row.wire_name == connection.selected]:
            with self._halves.unseen(self._name):
                await self._guarded(connection, mailbox, self._read_rows)
                if self._suspicions.has(mailbox.id) or await self._has_vanished((mailbox,)):
                    await self._look_at_arrivals(connection, apart_from=mailbox)
                await self._record_confirmed()
            await self._guarded(connection, mailbox, self._read_bodies)

    async def _look_at_arrivals(self, connection: ImapConnection, *, apart_from: MailboxRow) -> None:
        """Look where the messages may be that went from a mailbox, as far as one answer of the server tells."""
        statuses = await self._list(connection)
        arrived = [
            row
            for row in await self._mailboxes()
            if row.id != apart_from.id and has_arrivals(row, statuses.get(row.wire_name))
        ]
        for mailbox in arrived:
            await self._guarded(connection, mailbox, self._read_rows if mailbox.is_listed else self._list_newest)
        await self._record_confirmed()
        await self._bind_bodies(connection)

    async def _has_vanished(self, before: Iterable[MailboxRow]) -> bool:
        """Tell whether messages went from one of these mailboxes since."""
        for row in before:
            if await self._db.read(partial(server_tree.has_vanished, mailbox_id=row.id, since=row.version)):
                return True
        return False

    async def _bind_bodies(self, connection: ImapConnection) -> None:
        """Bind what need not be fetched, which is what was moved."""
        for mailbox in await self._mailboxes():
            if mailbox.is_listed and self._complete_at.get(mailbox.id) != mailbox.version:
                await self._guarded(connection, mailbox, self._read_known_bodies)

    async def _follow(self, connection: ImapConnection) -> None:
        """Bring to the devices what their own changes put into other mailboxes, without fetching what is known."""
        while filled := self._push.take_filled():
            for mailbox in await self._mailboxes():
                if mailbox.is_listed and mailbox.id in filled:
                    await self._guarded(connection, mailbox, self._read_rows)
                    await self._guarded(connection, mailbox, self._read_bodies)

    async def _glance_at_inbox(self, connection: ImapConnection) -> None:
        """Bring new mail of INBOX now and then, while other work keeps the connection busy."""
        now = asyncio.get_running_loop().time()
        if now - self._glanced_at < _GLANCE_S:
            return
        self._glanced_at = now
        for mailbox in await self._mailboxes():
            if mailbox.name.is_inbox and mailbox.is_listed:
                await self._guarded(connection, mailbox, self._read_rows)
                await self._guarded(connection, mailbox, self._read_newest_bodies)

    async def _list(self, connection: ImapConnection) -> dict[bytes, StatusRow]:
        """Record the mailboxes, and return the counts of those for which the server gave them."""
        entries = await connection.list_mailboxes(with_status=True)
        known = await self._db.read(partial(accounts.mailboxes, account_id=self._account_id))
        changes = compare_listing(
            {row.wire_name: accounts.listed(row) for row in known},
            [listed_of(entry, self._config.mailboxes) for entry in entries],
        )
        missed = self._suspicions.believe_unlisted(
            changes.missed, is_doubtful=changes.is_doubtful, now=asyncio.get_running_loop().time()
        )
        changes = replace(changes, missed=tuple(missed))
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
        await self._read_newest_bodies(self._observer(observer.connection, listed), listed)

    async def _read_rows(self, observer: ImapMailbox, mailbox: MailboxRow) -> None:
        self._activity.now(f"reading {mailbox.name}", self._clock())
        if not mailbox.is_listed:
            await observer.list_rows(only_newest=False)
        else:
            self._ceilings[mailbox.id] = await observer.observe(self._ceilings.get(mailbox.id, Rung.QRESYNC))
            self._seen.add(mailbox.id)
        now_known = await self._db.read(partial(accounts.mailbox_by_id, mailbox_id=mailbox.id))
        if (now_known.version, now_known.is_listed) != (mailbox.version, mailbox.is_listed):
            self._wake_devices()

    async def _read_overtaken(self, observer: ImapMailbox, mailbox: MailboxRow) -> None:
        """Read a mailbox in which the server was faster, and where the messages are that it may have moved from there.

        Else a device would remove its file of one of them, and with it what it changed and nobody has heard of.
        """
        await self._read_rows(observer, mailbox)
        if await self._has_vanished((mailbox,)):
            await self._look_at_arrivals(observer.connection, apart_from=mailbox)

    async def _read_known_bodies(self, observer: ImapMailbox, mailbox: MailboxRow) -> None:
        selections = self._takers.selections(self._name, mailbox.name, now=self._clock())
        await observer.bind_bodies(selections, on_commit=self._on_commit)

    async def _read_newest_bodies(self, observer: ImapMailbox, mailbox: MailboxRow) -> None:
        selections = await self._latecomers.selections(mailbox, now=self._clock())
        await observer.fetch_bodies(selections, newest=_NEWEST_BODIES, on_commit=self._on_commit)

    async def _read_bodies(self, observer: ImapMailbox, mailbox: MailboxRow) -> None:
        if not mailbox.is_listed:
            return
        while True:
            selections = await self._latecomers.selections(mailbox, now=self._clock())
            self._activity.now(f"fetching {mailbox.name}", self._clock(), done=self._fetched)
            known = await self._db.read(partial(accounts.mailbox_by_id, mailbox_id=mailbox.id))
            if not await observer.fetch_bodies(selections, on_commit=self._on_commit):
                # NOTE: bodies set aside come again by their time, and age only leaves out more.
                if mailbox.id not in self._latecomers:
                    self._complete_at[mailbox.id] = known.version
                return
            await self._push.push(observer.connection)
            await self._glance_at_inbox(observer.connection)

    async def _guarded(
        self,
        connection: ImapConnection,
        mailbox: MailboxRow,
        read: Callable[[ImapMailbox, MailboxRow], Awaitable[None]],
    ) -> None:
        """Read one mailbox; trouble that reaches no further than it is recorded there, and the others go on."""
        await self._push.push(connection)
        if self._failures.is_waiting(mailbox.id, Work.READ):
            return
        fresh = await self._db.read(partial(accounts.mailbox_by_id, mailbox_id=mailbox.id))
        observer = self._observer(connection, fresh)
        async with self._failures.kept(connection, fresh, Work.READ):
            try:
                await read(observer, fresh)
            except RenumberedError:
                self._suspicions.forget(fresh.id)
                await observer.renumber()
                self._wake_devices()
            await self._failures.succeeded(fresh, Work.READ)

    # Small parts.

    def _observer(self, connection: ImapConnection, mailbox: MailboxRow) -> ImapMailbox:
        return ImapMailbox(
            self._db,
            connection,
            mailbox,
            quirks=self._quirks,
            encoder=self._encoder,
            recent=self._recent,
            losses=self._losses,
            suspicions=self._suspicions,
            is_first=mailbox.id not in self._seen,
            spool_directory=self._spool_directory,
            clock=self._clock,
        )

    async def _mailboxes(self) -> list[MailboxRow]:
        rows = await self._db.read(partial(accounts.mailboxes, account_id=self._account_id))
        synced = [row for row in rows if row.is_synced]
        return sorted(synced, key=lambda row: sync_order(row.name, row.special_use))

    async def _select_inbox(self, connection: ImapConnection) -> bool:
        """Have INBOX selected if it can be, and tell whether it is to be looked at."""
        for mailbox in await self._mailboxes():
            if not mailbox.name.is_inbox or self._failures.is_waiting(mailbox.id, Work.READ):
                continue
            has_failed = self._failures.is_failing(mailbox.id, Work.READ)
            if connection.selected == mailbox.wire_name and not has_failed:
                continue
            async with self._failures.kept(connection, mailbox, Work.READ):
                condstore = "CONDSTORE" in connection.capabilities
                selected = await connection.select(mailbox.wire_name, condstore=condstore)
                return has_failed or not mailbox.is_listed or not is_as_known(mailbox, selected)
        return False

    def _on_commit(self, count: int) -> None:
        self._fetched += count
        self._activity.done = self._fetched
        log.info("bodies_committed", account=self._name, count=count)
        self._wake_devices()

    def _second_look_s(self) -> float | None:
        return self._suspicions.wait_s(asyncio.get_running_loop().time())

    def _let_go(self) -> None:
        """Give back what only a busy account needs."""
        self._encoder.rest()
        self._recent.clear()

    def _wake_devices(self) -> None:
        for device in self._takers.devices_of(self._name):
            self._wakes.device(device).set()


def _succeeded(conn: Connection, *, account_id: int, now: float) -> None:
    accounts.record_success(conn, account_id=account_id, now=now)
    uploads.forget_filed(conn, account_id=account_id, now=now)


def _hurry(conn: Connection, *, account_id: int) -> None:
    troubles.hurry_bodies(conn, account_id=account_id)
    uploads.hurry(conn, account_id=account_id)
