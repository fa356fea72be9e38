"""Floor 4: the second connection of an account whose server has NOTIFY, which hears of all mailboxes.

Theory. It is a help that nobody waits for. It begins when the account has come to rest for the first time, and ends
with the account's own connection; while it cannot be had, mailboxes are polled as they are on other servers. What it
hears is compared with what is known, and wakes the account only where that differs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from syncd.errors import RefusedError, SyncdError
from syncd.imap.news.listener import Listener
from syncd.log import log
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.backoff import Backoff
from syncd.sync.imap.news_elsewhere import NewsElsewhere

_AFTER_REFUSAL_S = 900.0
"""A server may be out of connections for this user, or take a login that it refuses for an attack."""
_STABLE_S = 60.0


class Listening:
    """Listen to the server of an account for as long as its own connection holds."""

    def __init__(
        self, account: ServedAccount, news: NewsElsewhere, *, connect: Callable[[], Awaitable[Listener]]
    ) -> None:
        """connect: returns a connection that is logged in."""
        self._account = account
        self._news = news
        self._connect = connect
        self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Listen no more; returns once the connection is closed."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        backoff, loop = Backoff(), asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                try:
                    await self._listen()
                except SyncdError as error:
                    if loop.time() - began > _STABLE_S:
                        backoff.succeeded()
                    wait_s = backoff.failed(error)
                    if isinstance(error, RefusedError):
                        wait_s = max(wait_s, _AFTER_REFUSAL_S)
                    log.warning("listening_ended", account=self._account.name, error=str(error), retry_s=round(wait_s))
                    await asyncio.sleep(wait_s)
        except Exception:
            log.exception("listening_failed", account=self._account.name)

    async def _listen(self) -> NoReturn:
        listener = await self._connect()
        works = (listener.listen(self._news.told, on_begin=self._begun), self._hear())
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            raise AssertionError("both go on until they raise")
        finally:
            self._account.activity.hears_all = False
            for task in tasks:
                task.cancel()
            await listener.aclose()  # without a word: in IDLE it would be a round trip, and the line may be gone

    def _begun(self) -> None:
        self._account.activity.hears_all = True
        log.info("account_listens", account=self._account.name)

    async def _hear(self) -> NoReturn:
        while True:
            await self._news.told.heard()
            if await self._news.compare():
                self._account.wake.set()
