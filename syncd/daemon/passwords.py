"""Floor 5: the password of an account, asked for once and again only after the server has refused it."""

from syncd.config.model import ImapConfig, Pop3Config
from syncd.config.secrets import password_of
from syncd.daemon.logs import secrets


class Password:
    """Get an account's password; call it at each login."""

    def __init__(self, config: ImapConfig | Pop3Config) -> None:
        self._config = config
        self._known: str | None = None

    async def __call__(self) -> str:
        if self._known is None:
            known = (await password_of(self._config)).get_secret_value()
            secrets.add(known)
            secrets.add(f"\0{self._config.username}\0{known}")  # as SASL PLAIN sends it (RFC 4616)
            self._known = known
        return self._known

    def forget(self) -> None:
        """Ask anew the next time: it may have been changed."""
        self._known = None
