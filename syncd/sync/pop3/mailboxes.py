"""Floor 4: the task that is the server of a POP3 account's mailboxes: what devices change there is true for all.

Theory. The mail of such an account is in the store and nowhere else, so this task never waits for anybody: it runs
rounds like those of an IMAP account, against the store (`store_server`), whether the maildrop can be reached or not.
What devices add comes first: a file that was removed may be what another one has taken the place of.
"""

import asyncio
from functools import partial

from sqlalchemy import Connection

from syncd.mail.mailbox import INBOX, MailboxName, SpecialUse
from syncd.reconcile.removals import Verdict, verdict_of
from syncd.store.files import uploads
from syncd.store.mailboxes import mailbox_changes, mailbox_removals, served_mailboxes
from syncd.store.mailboxes.mailbox_changes import ChangeKind, ChangeState
from syncd.store.trees import accounts, history
from syncd.store.trees.devices import device_names
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.pop3.store_server import StoreServer
from syncd.sync.requests import Requests
from syncd.sync.rounds.arrivals import Arrivals, by_mailbox, planned
from syncd.sync.rounds.server_round import ServerRound

_MAILBOXES = (
    (INBOX, None),
    (MailboxName(("Drafts",)), SpecialUse.DRAFTS),
    (MailboxName(("Sent",)), SpecialUse.SENT),
    (MailboxName(("Trash",)), SpecialUse.TRASH),
    (MailboxName(("Junk",)), SpecialUse.JUNK),
)
_ROUNDS_MAX = 100


class Pop3Mailboxes:
    """Be the server of a POP3 account's mailboxes; `run` for as long as devices are served."""

    def __init__(self, account: ServedAccount) -> None:
        self._account = account
        self._db = account.db
        self._takers = account.takers
        self._clock = account.clock
        self._server = StoreServer(clock=account.clock)
        self._known: frozenset[int] = frozenset()
        self._turn = asyncio.Lock()
        self.requests = Requests(account.wake)

    def wake(self) -> None:
        """Look at once for what devices change."""
        self._account.wake.set()

    async def run(self) -> None:
        """Make true what devices change, until cancelled."""
        wake = self._account.wake
        await self.ensure()
        while True:
            wake.clear()
            self.requests.take()
            await self.push()
            self.requests.answer()
            wake.answered()
            await wake.wait()

    async def ensure(self) -> None:
        """Make the mailboxes that such an account has from the start."""
        rows = await self._db.read(partial(accounts.mailboxes, account_id=self._account.id))
        if missing := {name for name, _ in _MAILBOXES} - {row.name for row in rows}:
            await self._db.write(partial(self._make, names=missing))

    def _make(self, conn: Connection, *, names: set[MailboxName]) -> None:
        for name, use in _MAILBOXES:
            if name in names:
                served_mailboxes.ensure_mailbox(conn, self._account.id, name, use, now=self._clock())

    async def push(self) -> None:
        """Settle what devices changed; the poll and the devices may both ask for it."""
        async with self._turn:
            await self._change_mailboxes()
            await self._tell_of_mailboxes()
            for _ in range(_ROUNDS_MAX):
                if not await self._push_once():
                    break
            await self._change_mailboxes()

    async def _change_mailboxes(self) -> None:
        """Make the mailboxes for which devices made directories, and let go those whose directories they removed."""
        if not await self._db.read(partial(mailbox_changes.mailbox_changes, account_id=self._account.id)):
            return
        if await self._db.write(self._make_wanted):
            self._account.wake_devices()
        if await self._db.write(self._settle_removed):
            self._account.wake_devices()

    def _make_wanted(self, conn: Connection) -> bool:
        """Make and rename mailboxes, and tell whether any was renamed."""
        names, now = device_names(conn), self._clock()
        found = mailbox_changes.mailbox_changes(conn, account_id=self._account.id)
        taken = [one for one in found if self._takers.writes(names[one.device_id], self._account.name, one.name)]
        mailbox_removals.forget(conn, [one for one in found if one not in taken])
        made = [one for one in taken if one.kind is ChangeKind.MAKE and one.due_at <= now]
        for one in made:
            by = history.origin_of((one.device_id,))
            served_mailboxes.ensure_mailbox(conn, self._account.id, one.name, now=now, origin=by)
        mailbox_changes.drop(conn, [one.id for one in made])
        renamed = [one for one in taken if one.kind is ChangeKind.RENAME and one.state is ChangeState.WANTED]
        for one in renamed:
            by = history.origin_of((one.device_id,))
            served_mailboxes.rename_mailbox(conn, one.mailbox_id or 0, one.name, now=now, origin=by)
        mailbox_changes.return_all(conn, [one.id for one in renamed])
        return bool(renamed)

    def _settle_removed(self, conn: Connection) -> bool:
        """Let removed mailboxes go that are empty, give back those that have got something, and tell if any did."""
        found = mailbox_changes.mailbox_changes(conn, account_id=self._account.id)
        count = 0
        for one in sorted(found, key=lambda one: one.name, reverse=True):
            if not one.is_removal or one.mailbox_id is None:
                continue
            devices = self._takers.devices_with(self._account.name, one.name)
            verdict = verdict_of(mailbox_removals.remainder(conn, one, devices=devices))
            if verdict is Verdict.WAIT:
                continue
            count += 1
            if verdict is Verdict.RETURN:
                mailbox_removals.give_back(conn, mailbox_id=one.mailbox_id, device_id=one.device_id)
            else:
                mailbox_removals.settle(conn, mailbox_id=one.mailbox_id, now=self._clock())
        return count > 0

    async def _tell_of_mailboxes(self) -> None:
        """Wake the devices if there are mailboxes that were not there before: one of them may have made them."""
        rows = await self._db.read(partial(accounts.mailboxes, account_id=self._account.id))
        known, self._known = self._known, frozenset(row.id for row in rows)
        if self._known - known:
            self._account.wake_devices()

    async def _push_once(self) -> bool:
        """Go once through what is to be settled, and tell whether there was any; what is held is not."""
        now = self._clock()
        has_arrived = await self._arrive(now)
        find = partial(self._takers.changed, account=self._account.name, account_id=self._account.id, now=now)
        changed = await self._db.read(find)
        for mailbox in changed:
            takes_part = partial(self._takers.replicas, account=self._account.name, mailbox=mailbox, now=now)
            await ServerRound(self._db, self._server, mailbox, takes_part, now=now, rule=self._takers.rule).run()
        if changed or has_arrived:
            self._account.wake_devices()
        return bool(changed) or has_arrived

    async def _arrive(self, now: float) -> bool:
        """Make messages of what devices added, and tell whether any is one now."""
        if not await self._db.read(partial(uploads.are_any, account_id=self._account.id)):
            return False
        find = partial(self._takers.bringable, account=self._account.name, account_id=self._account.id)
        bringable = await self._db.read(find)
        ask = partial(uploads.due, account_id=self._account.id, of=bringable.of, now=now)
        work, count, after = Arrivals(self._db, self._account.id, self._server, now), 0, 0
        while page := await self._db.read(partial(ask, after=after)):
            after = page[-1].id
            plans = await self._db.read(partial(planned, found=page, account_id=self._account.id))
            for mailbox_id, chosen in by_mailbox(plans).items():
                count += await work.bring(bringable.mailboxes[mailbox_id], chosen)
        return count > 0
