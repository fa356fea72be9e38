"""Floor 5: tokens of OAuth for one account: the one in the store while it is good, else the next one.

Theory. To renew an access may end the token that it was renewed with. So it is done by nobody but the owner of the
store, one at a time; the next one is in the store before it is used; and what has begun goes on though nobody waits for
it any more: whoever asks next, over another connection or after an edit, waits for that first.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from syncd.config.oauth import Application
from syncd.daemon.process.logs import secrets
from syncd.errors import NoAccessError, SecretError, Temper
from syncd.log import log
from syncd.store.engine.database import Database
from syncd.store.trees import grants

if TYPE_CHECKING:
    from syncd.oauth.grants import Grant


NOBODY = "nobody has logged in at its provider yet"
"""What there is to say of an account of which the store has nothing that was granted."""


class TokenEndedError(SecretError):
    """The token in the store has ended, and whoever looks at it may not renew it."""


class Access:
    """Get tokens of an account that is logged in by `syncd auth login`.

    renews: the store is ours; else a token that has ended is not followed by another.
    """

    def __init__(
        self,
        application: Application,
        db: Database,
        *,
        account_id: int,
        key_file: Callable[[], Path | None],
        clock: Callable[[], float],
        renews: bool,
    ) -> None:
        """Take also what tells which file has the key, which an edit may change."""
        self.application = application
        self._db = db
        self._account_id = account_id
        self._key_file = key_file
        self._clock = clock
        self._renews = renews
        self._turn = asyncio.Lock()
        self._renewing: asyncio.Task[str] | None = None

    async def token(self, *, is_refused: bool) -> str:
        """Return a token that is good for some minutes, as far as anybody knows; SecretError where there is none.

        is_refused: the server did not take the last one, whatever is known of it.
        """
        async with self._turn:
            await self.at_rest()
            before, grant = await self._stored()
            token = grant.token_at(self._clock())
            if token is not None and not (is_refused and self._renews):
                return token
            if not self._renews:
                raise TokenEndedError("the token in the store has ended; syncd renews it at its next login")
            self._renewing = asyncio.create_task(self._renewed(before, grant))
            self._renewing.add_done_callback(_heard)
            return await asyncio.shield(self._renewing)

    async def at_rest(self) -> None:
        """Return when no answer is on its way that may hold the only token."""
        if self._renewing is not None:
            await asyncio.wait({self._renewing})

    def give_up(self) -> None:
        """Wait for no answer any more."""
        if self._renewing is not None:
            self._renewing.cancel()

    async def _stored(self) -> "tuple[str, Grant]":
        """Return what is in the store, sealed and not; SecretError where that is of no use to this application."""
        from syncd.oauth.seal import unsealed  # noqa: PLC0415  # heavy, and the doctor mostly does without

        text = await self._db.read(partial(grants.sealed_grant, account_id=self._account_id))
        if text is None:
            raise NoAccessError(NOBODY)
        grant = await asyncio.to_thread(unsealed, text, self._key())
        if (grant.client_id, grant.token_url) != (self.application.client_id, self.application.token_url):
            raise NoAccessError("the access was granted to another client_id, or by another provider")
        return text, grant

    async def _renewed(self, before: str, grant: "Grant") -> str:
        from syncd.oauth.provider import Provider  # noqa: PLC0415  # heavier still
        from syncd.oauth.seal import sealed  # noqa: PLC0415

        hidden = (grant.refresh_token, self.application.client_secret or "")
        for one in hidden:
            secrets.add(one)
        try:
            after = await Provider(self.application, clock=self._clock).renewed(grant)
            text = await asyncio.to_thread(sealed, after, self._key())
            renew = partial(grants.renew_grant, account_id=self._account_id, sealed=text, before=before)
            if await self._db.write(partial(renew, now=self._clock())):  # else somebody has logged in meanwhile
                log.info("access_renewed")
            return after.access_token
        finally:
            for one in hidden:
                secrets.discard(one)

    def _key(self) -> Path:
        if (key_file := self._key_file()) is None:
            raise SecretError("[store] key_file is missing", temper=Temper.GIVE_UP)
        return key_file


def _heard(renewing: asyncio.Task[str]) -> None:
    """Take note of an error of which nobody heard who waited: the next login meets it again."""
    if not renewing.cancelled():
        renewing.exception()
