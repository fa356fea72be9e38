"""Floor 5: what an account logs in with: a password, asked for again once the server refused it, or a new token."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.secrets import password_of, token_of
from syncd.daemon.process.logs import secrets
from syncd.errors import SecretError
from syncd.sasl.mechanisms import Secret
from syncd.sasl.tokens import Token

if TYPE_CHECKING:
    from syncd.daemon.serving.access import Access

_FILE_S = 5.0


class Password:
    """Get an account's password, or a token in its place; call it around each login, which is all it is for."""

    def __init__(self, config: ImapConfig | Pop3Config, access: "Access | None" = None) -> None:
        """Take what gets tokens of an account with `oauth`."""
        self._config = config
        self._access = access
        self._known: str | None = None
        self._last: str | None = None
        self._is_asked = False
        self._was_refused = False
        self._is_granted = False
        """A person has logged in at the provider of tokens, and nobody has tried since."""

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Secret]:
        """Yield what to log in with, None where a certificate is all there is.

        A token is asked for anew, and nothing of it is left here afterwards.
        """
        if self._config.has_only_certificate:
            yield None
            return
        if self._config.token_command is not None:
            text = (await token_of(self._config.token_command)).get_secret_value()
        elif self._access is not None:
            self._is_granted = False
            text = await self._access.token(is_refused=self._was_refused)
        else:
            yield await self._password()
            return
        secrets.add(text)
        try:
            yield Token(text, self._was_refused)
            self._was_refused = self._is_granted = False
        finally:
            secrets.discard(text)

    async def is_another(self) -> bool:
        """Tell whether the file that holds it has another one than was last read from there, refused or not.

        One where there was none so far is another one. A command is not asked: it may make a person touch a key. Where
        there is none to be had now, the old one stays.
        """
        if self._config.password_file is None or not self._is_asked:
            return False
        try:
            async with asyncio.timeout(_FILE_S):
                found = await password_of(self._config)
        except (SecretError, TimeoutError):
            return False
        return found.get_secret_value() != self._last

    def forget(self) -> None:
        """Hear that the server refused it: it is asked for anew the next time, for it may have been changed."""
        self._known = None
        self._was_refused = not self._is_granted

    def is_granted(self) -> None:
        """Hear that a person has logged in at the provider of tokens: what was refused before counts no more."""
        self._was_refused, self._is_granted = False, True

    def takes_grant(self) -> bool:
        """Tell, once, whether a person has logged in since the last try, so that the next one may do."""
        is_granted, self._is_granted = self._is_granted, False
        return is_granted

    async def _password(self) -> str:
        if self._known is None:
            self._is_asked = True
            known = (await password_of(self._config)).get_secret_value()
            secrets.add(known)
            secrets.add(f"\0{self._config.username}\0{known}")  # as SASL PLAIN sends it (RFC 4616)
            self._known = self._last = known
        return self._known
