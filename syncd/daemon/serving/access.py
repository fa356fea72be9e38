"""Floor 5: tokens of OAuth for one account: the one in the store while it is good, else the next one.

Theory. To renew an access may end the token that it was renewed with. So it is done by nobody but the owner of the
store, one at a time, the next one is in the store before it is used, and whoever is stopped meanwhile waits for that.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.oauth import application_of
from syncd.daemon.process.logs import secrets
from syncd.errors import SecretError, Temper
from syncd.log import log
from syncd.store.engine.database import Database
from syncd.store.trees import grants

if TYPE_CHECKING:
    from syncd.oauth.grants import Grant

_END_S = 2.0
"""What a stop waits for an answer that may hold the only token; it is less than a stop may take (`App.stop`)."""


class NoAccessError(SecretError):
    """Nobody has logged in at the provider, or not in a way that is of use now; a person has to."""

    temper = Temper.GIVE_UP


class TokenEndedError(SecretError):
    """The token in the store has ended, and whoever looks at it may not renew it."""


class Access:
    """Get tokens of an account that is logged in by `syncd auth login`.

    renews: the store is ours; else a token that has ended is not followed by another.
    """

    def __init__(
        self,
        config: ImapConfig | Pop3Config,
        db: Database,
        *,
        account_id: int,
        key_file: Path,
        clock: Callable[[], float],
        renews: bool,
    ) -> None:
        self._application = application_of(config)
        self._db = db
        self._account_id = account_id
        self._key_file = key_file
        self._clock = clock
        self._renews = renews
        self._turn = asyncio.Lock()

    async def token(self, *, is_refused: bool) -> str:
        """Return a token that is good for some minutes, as far as anybody knows; SecretError where there is none.

        is_refused: the server did not take the last one, whatever is known of it.
        """
        async with self._turn:
            before, grant = await self._stored()
            token = grant.token_at(self._clock())
            if token is not None and not (is_refused and self._renews):
                return token
            if not self._renews:
                raise TokenEndedError("the token in the store has ended; syncd renews it at its next login")
            renewing = asyncio.create_task(self._renewed(before, grant))
            try:
                return await asyncio.shield(renewing)
            except asyncio.CancelledError:
                await asyncio.wait({renewing}, timeout=_END_S)
                raise
            finally:
                renewing.cancel()

    async def _stored(self) -> "tuple[str, Grant]":
        """Return what is in the store, sealed and not; SecretError where that is of no use to this application."""
        from syncd.oauth.seal import unsealed  # noqa: PLC0415  # most have no account with tokens

        text = await self._db.read(partial(grants.sealed_grant, account_id=self._account_id))
        if text is None:
            raise NoAccessError("nobody has logged in at its provider yet")
        grant = await asyncio.to_thread(unsealed, text, self._key_file)
        if grant.client_id != self._application.client_id:
            raise NoAccessError("the access was granted to another client_id")
        return text, grant

    async def _renewed(self, before: str, grant: "Grant") -> str:
        from syncd.oauth.provider import Provider  # noqa: PLC0415  # as above, and heavy
        from syncd.oauth.seal import sealed  # noqa: PLC0415

        hidden = (grant.refresh_token, self._application.client_secret or "")
        for one in hidden:
            secrets.add(one)
        try:
            after = await Provider(self._application, clock=self._clock).renewed(grant)
            text = await asyncio.to_thread(sealed, after, self._key_file)
            renew = partial(grants.renew_grant, account_id=self._account_id, sealed=text, before=before)
            await self._db.write(partial(renew, now=self._clock()))
            log.info("access_renewed")
            return after.access_token
        finally:
            for one in hidden:
                secrets.discard(one)
