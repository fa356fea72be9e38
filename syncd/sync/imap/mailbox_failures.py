"""Floor 4: what goes wrong with one mailbox stays with it: recorded, waited out, and forgotten when it goes well."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial

from syncd.errors import ConnectionLostError, ProtocolError, Reach, SyncdError, TooSlowError
from syncd.imap.connection import ImapConnection
from syncd.log import log
from syncd.store.engine.database import Database
from syncd.store.trees import accounts
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.backoff import Backoff
from syncd.sync.imap.losses import Losses
from syncd.values import Record, field

_LOST_MAX = 4
"""When so many connections in a row ended in one mailbox, the others are served before it."""
_AFTER_LOST_S = 60.0
"""And it costs no other connection for so long."""


class Work(Enum):
    """What is done with a mailbox; each fails, and is waited for, by itself."""

    READ = "read"
    PUSH = "push"
    ARRIVE = "arrive"


class _Wait(Record):
    backoff: Backoff = field(default_factory=Backoff)
    until: float = 0.0


class MailboxFailures:
    """Hold the failing mailboxes of one account, from one connection to the next."""

    def __init__(self, db: Database, account: str, losses: Losses) -> None:
        self._db = db
        self._losses = losses
        self._lost: tuple[tuple[int, Work] | None, int] = (None, 0)
        self._account = account
        self._waits: dict[tuple[int, Work], _Wait] = {}

    def __bool__(self) -> bool:
        """Tell whether the last attempt failed with any mailbox."""
        return bool(self._waits)

    def is_failing(self, mailbox_id: int, work: Work) -> bool:
        """Tell whether the last attempt failed."""
        return (mailbox_id, work) in self._waits

    def is_waiting(self, mailbox_id: int, work: Work) -> bool:
        """Tell whether it failed so lately that it is not to be tried again yet."""
        wait = self._waits.get((mailbox_id, work))
        return wait is not None and asyncio.get_running_loop().time() < wait.until

    def waiting(self, work: Work) -> frozenset[int]:
        """Return the mailboxes that failed so lately that this is not to be tried there again yet."""
        now = asyncio.get_running_loop().time()
        return frozenset(id_ for (id_, what), wait in self._waits.items() if what is work and now < wait.until)

    def shortest_wait_s(self) -> float | None:
        """Return the time until the next mailbox may be tried again, None when none is waited for."""
        now = asyncio.get_running_loop().time()
        return min((wait.until - now for wait in self._waits.values() if wait.until > now), default=None)

    def end_waits(self) -> None:
        """Let every mailbox be tried again at once: somebody asked for it."""
        for wait in self._waits.values():
            wait.until = 0.0

    def forget(self, mailbox_id: int) -> None:
        """Let a mailbox be tried again as if it had never failed: it was looked for under a name that it had lost."""
        for work in Work:
            self._waits.pop((mailbox_id, work), None)

    @asynccontextmanager
    async def kept(self, connection: ImapConnection, mailbox: MailboxRow, work: Work) -> AsyncGenerator[None]:
        """Swallow and record an error that reaches no further than the mailbox; others pass.

        An error that nobody foresaw is the mailbox's too, for it would end every run at the same place; where it cost
        the connection it passes, but the next run leaves the mailbox for later.
        """
        try:
            yield
        except SyncdError as error:
            if isinstance(error, ConnectionLostError | ProtocolError | TooSlowError) and not connection.is_usable:
                await self._lost_in(mailbox, work, error)
            if error.reach not in {Reach.MESSAGE, Reach.MAILBOX} or not connection.is_usable:
                raise
            log.warning("mailbox_failed", account=self._account, mailbox_id=mailbox.id, error=str(error))
            await self._failed(mailbox, work, error, str(error))
        except Exception as error:
            text = f"unexpected error: {type(error).__name__}"
            log.exception("mailbox_failed", account=self._account, mailbox_id=mailbox.id, error=text)
            await self._failed(mailbox, work, error, text)
            if not connection.is_usable:
                raise

    async def succeeded(self, mailbox: MailboxRow, work: Work) -> None:
        """Forget what went wrong before with this work."""
        self._waits.pop((mailbox.id, work), None)
        if self._lost[0] == (mailbox.id, work):
            self._lost = (None, 0)
        if mailbox.error is not None and not any(mailbox_id == mailbox.id for mailbox_id, _ in self._waits):
            await self._db.write(partial(accounts.record_mailbox_error, mailbox_id=mailbox.id, error=None))

    async def _lost_in(self, mailbox: MailboxRow, work: Work, error: SyncdError) -> None:
        self._losses.at_mailbox()
        where = (mailbox.id, work)
        self._lost = where, self._lost[1] + 1 if self._lost[0] == where else 1
        if self._lost[1] >= _LOST_MAX:
            await self._failed(mailbox, work, error, str(error), least_s=_AFTER_LOST_S)

    async def _failed(
        self, mailbox: MailboxRow, work: Work, error: Exception, text: str, *, least_s: float = 0.0
    ) -> None:
        wait = self._waits.setdefault((mailbox.id, work), _Wait())
        wait.until = asyncio.get_running_loop().time() + max(wait.backoff.failed(error), least_s)
        await self._db.write(partial(accounts.record_mailbox_error, mailbox_id=mailbox.id, error=text))
