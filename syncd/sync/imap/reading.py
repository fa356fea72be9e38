"""Floor 4: what one account reads of its IMAP server, mailbox by mailbox, and in which order.

Theory. A *pass* lists the mailboxes, then goes through those that changed, in three sweeps: the newest rows and bodies
of a mailbox never seen, until they are stored, all rows, all bodies newest first. Between mailboxes and bodies it
*pushes*: what devices changed goes to the server before anything else. An error that reaches a message or a mailbox is
recorded there, and the others go on. What went from a mailbox is looked for in the others before devices may plan it,
since it may have been moved. New mail in INBOX waits for nothing: during a long pass INBOX is looked at now and then.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from syncd.imap.connection import ImapConnection
from syncd.imap.quirks import Quirks
from syncd.imap.types import MailboxEvents
from syncd.store.trees import server_tree
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.accounts.incoming_bodies import IncomingBodies
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.accounts.successes import Successes
from syncd.sync.imap.listing import ask, has_arrivals, is_selected_as_known, is_unchanged
from syncd.sync.imap.losses import Losses
from syncd.sync.imap.mailbox_failures import MailboxFailures, Work
from syncd.sync.imap.mailboxes import ImapMailboxes
from syncd.sync.imap.push import ImapPush
from syncd.sync.imap.steps import ImapSteps
from syncd.sync.imap.suspicions import Suspicions
from syncd.values import replace

if TYPE_CHECKING:
    from syncd.sync.imap.first_listing import Coming
    from syncd.sync.imap.mailbox import ImapMailbox

_SECOND_LOOKS_MAX = 3
_GLANCE_S = 30.0
"""How long new mail in INBOX may go unnoticed during a pass."""


class ImapReading:
    """Know how far one account has read its server; its task says when to read, and over which connection."""

    def __init__(
        self,
        account: ServedAccount,
        patterns: tuple[str, ...],
        *,
        incoming: IncomingBodies,
        losses: Losses,
        failures: MailboxFailures,
        second_look_s: float,
    ) -> None:
        """Read the mailboxes that match `patterns`; before `begin` nothing may be read."""
        self._account = account
        self._db = account.db
        self._activity = account.activity
        self._clock = account.clock
        self._halves, self._was_interrupted = account.wakes.halves, True
        self._failures = failures
        self._suspicions = Suspicions(account.name, rule=account.takers.rule, second_look_s=second_look_s)
        self._glanced_at = 0.0
        self._successes = Successes(account)
        self._asks_ahead = True
        self._answer: tuple[object, ...] = ()
        """What the server says of all mailboxes, and of the selected one, when nothing has changed."""
        self.mailboxes = ImapMailboxes(
            account,
            patterns,
            suspicions=self._suspicions,
            failures=failures,
            on_change=self._wake_devices,
        )
        self._steps = ImapSteps(
            account,
            incoming=incoming,
            losses=losses,
            failures=failures,
            suspicions=self._suspicions,
            push=self._bring_changes,
            glance=self._glance_at_inbox,
            on_change=self._wake_devices,
        )
        self.push = ImapPush(
            account,
            failures=failures,
            observer=self._steps.observer,
            look=self._read_overtaken,
            is_doubted=self._suspicions.has,
            on_change=self._wake_devices,
        )
        """The other direction: it reads where the server was faster, and goes before each mailbox that is read."""

    def begin(self, quirks: Quirks) -> None:
        """Begin on another connection: what the one before saw, and what it was in the middle of, counts no more."""
        self._steps.begin(replace(quirks, out_of_order=quirks.out_of_order or not self._asks_ahead))
        self._was_interrupted = True
        self._successes.begin()

    def end(self, connection: ImapConnection) -> None:
        """Note how a connection ended: of a server that does not do things in their order nothing is asked ahead."""
        self._asks_ahead &= connection.is_in_order

    def adjust(self, patterns: tuple[str, ...]) -> None:
        """Read the mailboxes that match these patterns from now on, and all again that devices may take by now."""
        self.mailboxes.patterns = patterns
        self._suspicions.rule = self._account.takers.rule
        self._steps.adjust()
        self.push.adjust()

    async def is_due(self) -> bool:
        """Tell whether there is cause for a pass.

        Time for a second look, a mailbox that we have made, or what a device has only by now.
        """
        if self.push.has_made_mailboxes or self.second_look_s() == 0.0 or await self._steps.latecomers.have_come():
            return True
        return await self._successes.are_awaited()

    @property
    def is_quiet(self) -> bool:
        """Tell whether nothing is doubted, failing, left out or under way, but for what the store says."""
        is_waiting = self._suspicions or self._failures or self._steps.latecomers or self._was_interrupted
        return not is_waiting and self.mailboxes.is_quiet and self.push.is_quiet

    async def run_pass(self, connection: ImapConnection, *, is_at_rest: bool = False) -> bool:
        """Go once through the mailboxes, read what changed in them, and tell whether nothing had.

        is_at_rest: where the server says the very same as when nothing had, there is nothing else to be done.
        """
        self._activity.now("listing mailboxes", self._clock())
        self.push.has_made_mailboxes = False
        began = self._glanced_at = asyncio.get_running_loop().time()
        entries = await ask(connection, self._steps.resync_of(connection, await self.mailboxes.synced()))
        answer = (entries, connection.selected, connection.selection)
        if is_at_rest and answer == self._answer and not connection.has_events:
            await self._successes.record()
            return True
        statuses = await self.mailboxes.record(connection, entries)
        rows = await self.mailboxes.synced()
        changed = [
            row
            for row in rows
            if row.error
            or self._suspicions.has(row.id)
            or not (
                is_unchanged(row, statuses.get(row.wire_name))
                or (row.id in self._steps.seen and is_selected_as_known(row, connection))
            )
        ]
        listed, unlisted = ([row for row in changed if row.is_listed is is_listed] for is_listed in (True, False))
        is_any_known = any(row.is_listed for row in rows)
        (self._halves.begin if is_any_known else self._halves.end)(self._account.name)
        async with self._steps.batches:
            counts = [status.messages if (status := statuses.get(row.wire_name)) else None for row in unlisted]
            coming = [self._coming(row, count) for row, count in zip(unlisted, counts, strict=True)]
            for mailbox, count, then in zip(unlisted, counts, [*coming[1:], None], strict=False):
                await self._steps.run(connection, mailbox, partial(self._steps.list_newest, count=count, then=then))
            # NOTE: whatever else was done now, the newest mail would come to devices later; for that people wait.
            await self._steps.batches.settle()
            for mailbox in listed:
                await self._steps.run(connection, mailbox, self._steps.read_rows)
                await self._glance_at_inbox(connection)
            has_confirmed = await self._record_confirmed()
            is_half_known = self._was_interrupted or has_confirmed or await self._has_vanished(listed)
            if is_any_known and is_half_known:
                await self._bind_bodies(connection)
            self._was_interrupted = False
            self._halves.end(self._account.name, is_more_coming=connection.has_bodies_ahead)
            begun = {row.id for row in unlisted}
            for mailbox in [row for row in await self.mailboxes.synced() if row.id in begun and not row.is_listed]:
                await self._steps.run(connection, mailbox, self._steps.read_rows)
                await self._glance_at_inbox(connection)
            self._suspicions.end_pass(began)
            is_any_lacking = await self._fetch_lacking(connection)
        await self._end_fetching(connection)
        if not self._suspicions and await self._successes.record():
            self._wake_devices()
        is_as_known = not (changed or has_confirmed or is_any_lacking)
        self._answer = answer if is_as_known else ()
        return is_as_known

    def _coming(self, row: MailboxRow, count: int | None) -> "Coming | None":
        """Return what may be asked for behind the mailbox before: nothing where a loss would be told of that one."""
        if not self._asks_ahead or self._failures.is_failing(row.id, Work.READ):
            return None
        return row.wire_name, count

    async def fetch_lacking(self, connection: ImapConnection) -> None:
        """Fetch the bodies that devices take and the store lacks, as far as it knows of messages."""
        async with self._steps.batches:
            await self._fetch_lacking(connection)
        await self._end_fetching(connection)

    async def look_again(self, connection: ImapConnection, *, waits: bool) -> None:
        """Give the server another chance, where somebody waits for a conclusion, to say what it seems to have lost."""
        for _ in range(_SECOND_LOOKS_MAX if waits else 0):
            wait_s = self.second_look_s()
            if wait_s is None:
                break
            self._activity.now("waiting whether what seems to be gone comes back", self._clock())
            await asyncio.sleep(wait_s)
            await self.run_pass(connection)

    async def look_at_selected(self, connection: ImapConnection) -> None:
        """Read the selected mailbox, and where the messages may be that went from it."""
        events = connection.drain_events()  # the look at the mailbox says what they said
        for mailbox in [row for row in await self.mailboxes.synced() if row.wire_name == connection.selected]:
            await self._look_at(connection, [mailbox], is_half=await self._may_be_half(mailbox, events))

    async def look_at(self, connection: ImapConnection, mailbox_ids: Collection[int]) -> None:
        """Read these mailboxes, and where the messages may be that went from them."""
        mailboxes = [row for row in await self.mailboxes.synced() if row.id in mailbox_ids]
        await self._look_at(connection, mailboxes, is_half=True)

    async def _look_at(self, connection: ImapConnection, mailboxes: Sequence[MailboxRow], *, is_half: bool) -> None:
        with self._halves.unseen(self._account.name) if is_half else nullcontext():
            for mailbox in mailboxes:
                self._steps.vanished.discard(mailbox.id)
                await self._steps.run(connection, mailbox, self._steps.read_rows)
            if any(self._suspicions.has(one.id) or one.id in self._steps.vanished for one in mailboxes):
                await self._look_at_arrivals(connection, apart_from=mailboxes)
            await self._record_confirmed()
        for mailbox in mailboxes:
            await self._steps.run(connection, mailbox, self._steps.read_bodies)

    def has_observed(self, connection: ImapConnection) -> bool:
        """Tell whether all was observed that happened in the selected mailbox before it was selected."""
        return self._steps.has_observed(connection)

    async def follow(self, connection: ImapConnection) -> None:
        """Bring to the devices what their own changes put into other mailboxes, without fetching what is known."""
        while filled := self.push.take_filled():
            for mailbox in await self.mailboxes.synced():
                if mailbox.is_listed and mailbox.id in filled:
                    await self._steps.run(connection, mailbox, self._steps.read_rows)
                    await self._steps.run(connection, mailbox, self._steps.read_bodies)

    async def restore(self, connection: ImapConnection) -> None:
        """Put back what the server deleted and a device had changed, once no other mailbox turns out to have it."""
        while wanted := self.push.take_unseen():
            with self._halves.unseen(self._account.name):
                if not await self._look_at_arrivals(connection, is_thorough=True):
                    break  # the next push finds them again
                await self.push.restore(connection, wanted)
            await self.follow(connection)

    def second_look_s(self) -> float | None:
        """Return the time until the server is to be asked again for what it seems to have lost, None: for nothing."""
        return self._suspicions.wait_s(asyncio.get_running_loop().time())

    async def _fetch_lacking(self, connection: ImapConnection) -> bool:
        """Fetch what is lacking, and tell whether there may have been anything."""
        incomplete = await self._steps.incomplete(await self.mailboxes.synced())
        for mailbox in incomplete:
            await self._steps.run(connection, mailbox, self._steps.read_bodies)
        return bool(incomplete)

    async def _end_fetching(self, connection: ImapConnection) -> None:
        """Fetch again what could not be stored together, and record what went wrong."""
        if self._steps.batches.take_failed_together():
            await self._fetch_lacking(connection)
        await self._steps.tell_errors(connection, await self.mailboxes.synced())

    async def _record_confirmed(self) -> bool:
        """Record in one transaction what is confirmed to be gone, or to be elsewhere, so that devices see all of it.

        Tell whether there was anything.
        """
        for mailbox_id, uidvalidity, uids in self._suspicions.doubted():
            find = partial(server_tree.count_moved, mailbox_id=mailbox_id, uidvalidity=uidvalidity, uids=uids)
            self._suspicions.explain(mailbox_id, moved=await self._db.read(find))
        confirmed = self._suspicions.take_confirmed()
        if confirmed:
            await self._db.write(lambda conn: [record(conn) for record in confirmed])
            self._wake_devices()
        return bool(confirmed)

    async def _look_at_arrivals(
        self, connection: ImapConnection, *, apart_from: Sequence[MailboxRow] = (), is_thorough: bool = False
    ) -> bool:
        """Look where the messages may be that went from mailboxes, as far as one answer of the server tells.

        is_thorough: also in mailboxes of which it tells nothing. Returns whether all of them could be read.
        """
        statuses = await self.mailboxes.list(connection)
        read = {row.id for row in apart_from}
        arrived = [
            row
            for row in await self.mailboxes.synced()
            if row.id not in read
            and (has_arrivals(row, statuses.get(row.wire_name)) or (is_thorough and row.wire_name not in statuses))
        ]
        for mailbox in arrived:
            await self._steps.run(
                connection, mailbox, self._steps.read_rows if mailbox.is_listed else self._steps.list_newest
            )
        await self._record_confirmed()
        await self._bind_bodies(connection)
        return not any(self._failures.is_failing(mailbox.id, Work.READ) for mailbox in arrived)

    async def _may_be_half(self, mailbox: MailboxRow, events: MailboxEvents) -> bool:
        """Tell whether a mailbox may have lost what came into another one; not if events tell of our own doing only.

        NOTE: behind messages that came others may be told that went, until IDLE has ended, which is not waited for.
        """
        if not events or events.expunged or events.is_partial or events.exists is not None:
            return True
        here, gone = mailbox.cursor.uidvalidity, events.vanished
        find = partial(server_tree.known_uids, mailbox_id=mailbox.id, uidvalidity=here, among=gone)
        return bool(gone) and bool(await self._db.read(find))

    async def _has_vanished(self, before: Iterable[MailboxRow]) -> bool:
        """Tell whether messages went from one of these mailboxes since."""
        since = {row.id: row.version for row in before}
        return bool(since) and await self._db.read(partial(_has_vanished, since=since))

    async def _bind_bodies(self, connection: ImapConnection) -> None:
        """Bind what need not be fetched, which is what was moved."""
        for mailbox in await self._steps.incomplete(await self.mailboxes.synced()):
            if mailbox.is_listed:
                await self._steps.run(connection, mailbox, self._steps.read_known_bodies)

    async def _glance_at_inbox(self, connection: ImapConnection) -> None:
        """Bring new mail of INBOX now and then, while other work keeps the connection busy."""
        now = asyncio.get_running_loop().time()
        if now - self._glanced_at < _GLANCE_S:
            return
        self._glanced_at = now
        for mailbox in await self.mailboxes.synced():
            if mailbox.name.is_inbox and mailbox.is_listed:
                await self._steps.run(connection, mailbox, self._steps.read_rows)
                await self._steps.run(connection, mailbox, self._steps.read_newest_bodies)

    async def _read_overtaken(self, observer: "ImapMailbox", mailbox: MailboxRow) -> None:
        """Read a mailbox in which the server was faster, and where the messages are that it may have moved from there.

        Else a device would remove its file of one of them, and with it what it changed and nobody has heard of.
        """
        self._steps.vanished.discard(mailbox.id)
        await self._steps.read_rows(observer, mailbox)
        if mailbox.id in self._steps.vanished:
            await self._look_at_arrivals(observer.connection, apart_from=[mailbox])

    async def _bring_changes(self, connection: ImapConnection) -> None:
        """Let what devices changed reach the server before anything else is done."""
        await self.push.push(connection)

    def _wake_devices(self, *, apart_from: Collection[str] = (), is_more_coming: bool = False) -> None:
        for device in self._account.takers.devices_of(self._account.name):
            if device in apart_from:
                continue
            wake = self._account.wakes.device(device)
            if self._halves.are_seen(self._account.name, wake=wake):  # else it is woken when they are
                wake.set(is_more_coming=is_more_coming)


def _has_vanished(conn: Connection, *, since: Mapping[int, int]) -> bool:
    """Tell whether messages went from mailboxes since they had these versions."""
    return any(server_tree.has_vanished(conn, mailbox_id=id_, since=version) for id_, version in since.items())
