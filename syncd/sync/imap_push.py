"""Floor 4: what devices changed in the mailboxes of an IMAP account, brought to its server."""

from collections.abc import Awaitable, Callable
from functools import partial

from syncd.imap.connection import ImapConnection
from syncd.reconcile.effects import Move
from syncd.store.accounts import MailboxRow
from syncd.store.database import Database
from syncd.sync.activity import Activity
from syncd.sync.imap_mailbox import ImapMailbox
from syncd.sync.mailbox_failures import MailboxFailures, Work
from syncd.sync.policies import Takers
from syncd.sync.server_round import server_round
from syncd.sync.sides import RoundResult

_ROUNDS_MAX = 100
_OVERTAKEN_MAX = 4


class ImapPush:
    """Bring the changes of devices to a server; a mailbox that refuses is left alone for a while."""

    def __init__(
        self,
        db: Database,
        account: str,
        *,
        account_id: int,
        takers: Takers,
        failures: MailboxFailures,
        activity: Activity,
        clock: Callable[[], float],
        observer: Callable[[ImapConnection, MailboxRow], ImapMailbox],
        look: Callable[[ImapMailbox, MailboxRow], Awaitable[None]],
        on_change: Callable[[], None],
    ) -> None:
        """Call `look` for a mailbox in which the server was faster, and `on_change` when something was stored."""
        self._db = db
        self._account = account
        self._account_id = account_id
        self._takers = takers
        self._failures = failures
        self._activity = activity
        self._clock = clock
        self._observer = observer
        self._look = look
        self._on_change = on_change
        self._moved: list[Move] = []

    async def push(self, connection: ImapConnection) -> None:
        """Go through the mailboxes that devices changed until none is left but those that failed."""
        overtaken = 0
        for _ in range(_ROUNDS_MAX):
            changed = await self._db.read(
                partial(self._takers.changed, account=self._account, account_id=self._account_id, now=self._clock())
            )
            ready = [each for each in changed if not self._failures.is_waiting(each.id, Work.PUSH)]
            if not ready:
                return
            was_overtaken = False
            for mailbox in ready:
                was_overtaken |= await self._push_mailbox(connection, mailbox, is_last=overtaken >= _OVERTAKEN_MAX)
            overtaken += was_overtaken

    def take_moved(self) -> tuple[Move, ...]:
        """Return what was moved since the last call: look at the mailboxes where it is."""
        taken, self._moved = tuple(self._moved), []
        return taken

    async def _push_mailbox(self, connection: ImapConnection, mailbox: MailboxRow, *, is_last: bool) -> bool:
        """Push one mailbox, and tell whether the server was faster."""
        self._activity.now(f"pushing changes of {mailbox.name}", self._clock())
        result = RoundResult(0, is_stale=False)
        async with self._failures.kept(connection, mailbox, Work.PUSH):
            observer = self._observer(connection, mailbox)
            replicas = await self._takers.replicas(self._db, self._account, mailbox, now=self._clock())
            result = await server_round(
                self._db,
                observer,
                mailbox,
                replicas,
                now=self._clock(),
                rule=self._takers.rule,
                sets_overtaken_aside=is_last,
            )
            self._moved += result.moved
            if result.is_stale:
                await self._look(observer, mailbox)
            await self._failures.succeeded(mailbox, Work.PUSH)
        if result.effects:
            self._on_change()
        return result.is_stale
