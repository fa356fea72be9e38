"""Floor 4: the second connection of an account whose server has NOTIFY, which hears of other mailboxes than INBOX.

Theory. It is a help that nobody waits for. It begins when the account has come to rest for the first time, and ends
with the account's own connection; while it cannot be had, mailboxes are polled as they are on other servers. A login
that is refused is not tried again: what to log in with is the account's to find out, at its own next login. What is
heard wakes the account only where it differs from what is known.

Trap: Dovecot 2.3 may go deaf: where a mailbox is renamed within a second or so after another change of names, it tells
that late or never, and sometimes nothing at all from then on. So another connection takes the place of this one after
names have changed, and after a poll that found what should have been told; it begins with how all mailboxes are.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

from syncd.errors import RefusedError, SyncdError, Temper, text_of
from syncd.imap.answers.refusals import NotUnderstoodError
from syncd.imap.news.listener import Listener
from syncd.log import log
from syncd.store.trees.accounts import MailboxRow
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.backoff import Backoff
from syncd.sync.imap.heard import has_untold, lacking, told_of
from syncd.sync.imap.news_elsewhere import NewsElsewhere

_AFTER_REFUSAL_S = 900.0
"""A server may be out of connections for this user."""
_STABLE_S = 60.0
_QUIET_S = 3.0
_UNQUIET_MAX_S = 30.0
_RENEWAL_S = 30.0
"""A connection is renewed once nothing was told for a moment, or at the latest after some time, and not more often."""
_GOODBYE_S = 5.0
_FROM_WITHIN = "listening was cancelled from within"
"""By a library: nobody has ended it."""
_FOR_GOOD = frozenset({"BADEVENT", "NOTIFICATIONOVERFLOW"})
"""With these codes a server refuses what is asked, and not this time only (RFC 5465 §5.8, §8)."""


class Listening:
    """Listen to the server of an account until `cancel`."""

    def __init__(
        self,
        account: ServedAccount,
        news: NewsElsewhere,
        *,
        connect: Callable[[], Awaitable[Listener]],
    ) -> None:
        """connect: returns a connection that is logged in."""
        self._account = account
        self._news = news
        self._connect = connect
        self._backoff = Backoff()
        self._since: float | None = None
        self._lacking: frozenset[int] | None = None
        """The mailboxes of which the connection before did not tell."""
        self._heard_at = self._renewed_at = float("-inf")
        self._is_doubted = asyncio.Event()
        self.is_in_vain = False
        """Whether the server does not do this, so that it is not to be asked over another connection."""
        self._task = asyncio.create_task(self._run())

    def cancel(self) -> None:
        """Listen no more; the connection is closed at once, without a word."""
        self._task.cancel()

    async def ended(self) -> None:
        """Wait until nothing is left of it."""
        await asyncio.wait([self._task])

    def polled(self, before: Sequence[MailboxRow], after: Sequence[MailboxRow]) -> None:
        """Hear of a poll, for which nothing was told: what was known before it, and is known now."""
        if has_untold(before, after, told=self._account.activity.heard or ()):
            self._is_doubted.set()

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._listen()
                    continue
                except Exception as caught:
                    error = caught
                except asyncio.CancelledError:
                    if (ours := asyncio.current_task()) is None or ours.cancelling():
                        raise
                    error = SyncdError(_FROM_WITHIN)
                self._account.activity.heard = None
                if (wait_s := self._wait_s(error)) is None:
                    return
                await asyncio.sleep(wait_s)
        finally:
            self._account.activity.heard = None

    async def _listen(self) -> None:
        """Listen over one connection, until another one is to take its place; raises what ended it."""
        loop = asyncio.get_running_loop()
        listener = await self._connect()
        begun: asyncio.Future[frozenset[bytes]] = loop.create_future()
        works = (
            listener.listen(self._news.told, on_begin=begun.set_result),
            self._hear(begun),
            self._until_doubted(begun),
        )
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[-1].done():
                listener.stop()
                await asyncio.wait(tasks[:1], timeout=_GOODBYE_S)
        finally:
            for task in tasks:
                task.cancel()
            await listener.aclose()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        if ends[-1] is not None:
            raise next((end for end in ends if isinstance(end, Exception)), SyncdError(_FROM_WITHIN))
        self._renewed_at = loop.time()

    async def _hear(self, begun: asyncio.Future[frozenset[bytes]]) -> NoReturn:
        loop, news = asyncio.get_running_loop(), self._news
        names, known = await begun, await news.known()
        self._since = loop.time()
        told, before = told_of(names, known), self._lacking or frozenset()
        self._lacking = lacking(told, known)
        if not self._lacking <= before:
            news.told.miss()  # one may have gone while nobody listened, or is none of the user's own
        self._account.activity.heard = told
        log.info("listening_began", account=self._account.name, mailboxes=len(told), not_told=len(self._lacking))
        while True:
            await news.told.heard()
            self._heard_at = loop.time()
            if found := await news.compare():
                self._account.wake.set()
                if found.names:
                    self._is_doubted.set()

    async def _until_doubted(self, begun: asyncio.Future[frozenset[bytes]]) -> None:
        """Return when another connection is to take the place of this one."""
        loop = asyncio.get_running_loop()
        await asyncio.wait([begun])
        self._is_doubted.clear()
        await self._is_doubted.wait()
        latest = loop.time() + _UNQUIET_MAX_S
        while (at := max(min(self._heard_at + _QUIET_S, latest), self._renewed_at + _RENEWAL_S)) > loop.time():  # noqa: ASYNC110
            await asyncio.sleep(at - loop.time())

    def _wait_s(self, error: Exception) -> float | None:
        """Return after how long to try again, None: not over this connection of the account."""
        now = asyncio.get_running_loop().time()
        if self._since is not None and now - self._since > _STABLE_S:
            self._backoff.succeeded()
        self._since = None
        wait_s: float | None = self._backoff.failed(error)
        if isinstance(error, RefusedError):
            self.is_in_vain = isinstance(error, NotUnderstoodError) or error.code in _FOR_GOOD
            is_over = self.is_in_vain or error.temper is Temper.GIVE_UP
            wait_s = None if is_over else _AFTER_REFUSAL_S
        is_known = isinstance(error, SyncdError)
        log.log(
            logging.WARNING if is_known else logging.ERROR,
            "listening_ended",
            account=self._account.name,
            error=text_of(error),
            retry_in_s=None if wait_s is None else round(wait_s),
            exc_info=None if is_known else error,
        )
        return wait_s
