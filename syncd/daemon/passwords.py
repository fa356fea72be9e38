"""Floor 5: the password of an account, asked for once and again only after the server has refused it."""

import asyncio

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.secrets import password_of
from syncd.daemon.logs import secrets
from syncd.errors import SecretError

_FILE_S = 5.0


class Password:
    """Get an account's password; call it at each login."""

    def __init__(self, config: ImapConfig | Pop3Config) -> None:
        self._config = config
        self._known: str | None = None
        self._last: str | None = None
        self._is_asked = False

    async def __call__(self) -> str | None:
        """Return it, None where a certificate is all there is to log in with."""
        if self._config.has_only_certificate:
            return None
        if self._known is None:
            self._is_asked = True
            known = (await password_of(self._config)).get_secret_value()
            secrets.add(known)
            secrets.add(f"\0{self._config.username}\0{known}")  # as SASL PLAIN sends it (RFC 4616)
            self._known = self._last = known
        return self._known

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
        """Ask anew the next time: it may have been changed."""
        self._known = None
