"""Floor 1: SCRAM (RFC 5802, RFC 7677): no password goes over the line, and the server has to know it as well."""

import re
from typing import TYPE_CHECKING, Any

from syncd.errors import LoginRefusedError, ProtocolError, SyncdError, TrustError

if TYPE_CHECKING:
    from collections.abc import Callable

_MESSAGE = re.compile(rb"[!-~ ]{1,2000}")
_ITERATIONS = re.compile(r"i=([1-9][0-9]{0,9})")
_ITERATIONS_MIN = 4096
"""What RFC 7677 §4 asks of servers: with fewer, who listens guesses passwords the faster."""
_ITERATIONS_MAX = 1_000_000
"""About a second of a processor: what a server can make us spend."""


class Scram:
    """One of SCRAM-SHA-256 and SCRAM-SHA-1, without channel binding. nonce: only for tests."""

    complaint = ""

    def __init__(self, name: str, username: str, password: str, *, nonce: str | None = None) -> None:
        self.name = name
        self._username = username
        self._password = password
        self._nonce = nonce
        self._client: Any = None
        self._is_answered = False
        self._is_proven = False

    def first(self) -> bytes:
        """Return the first message; LoginRefusedError for a user name or password that SASLprep does not allow."""
        from scramp import ScramClient, ScramException  # noqa: PLC0415  # a tenth of a second, for few servers

        try:
            self._client = ScramClient([self.name], self._username, self._password, c_nonce=self._nonce)
            return str(self._client.get_client_first()).encode()
        except (ScramException, UnicodeError):
            # NOTE: raised below, without a cause, whose words may be those of the password.
            pass
        raise LoginRefusedError(f"a character in user name or password is none that {self.name} allows")

    def answer(self, challenge: bytes) -> bytes | None:
        if self._is_proven:
            return None
        if not _MESSAGE.fullmatch(challenge):
            raise ProtocolError(f"the server said what is not of {self.name}")
        text = challenge.decode("ascii")
        return self._proof(text) if not self._is_answered else self._end(text)

    def is_proven(self) -> bool:
        return self._is_proven

    def _proof(self, text: str) -> bytes:
        found = [one for one in map(_ITERATIONS.fullmatch, text.split(",")) if one]
        if len(found) != 1 or not _ITERATIONS_MIN <= int(found[0][1]) <= _ITERATIONS_MAX:
            raise ProtocolError(f"the server asks for too few or too many iterations of {self.name}")
        self._is_answered = True
        foreign = ProtocolError(f"the server said what is not of {self.name}")
        self._step(lambda: self._client.set_server_first(text), foreign)
        return str(self._client.get_client_final()).encode()

    def _end(self, text: str) -> bytes:
        if text.startswith("e="):
            return b""  # its NO follows, and says it better
        self._step(lambda: self._client.set_server_final(text), TrustError("the server did not prove itself at login"))
        self._is_proven = True
        return b""

    def _step(self, take: "Callable[[], object]", refusal: SyncdError) -> None:
        from scramp import ScramException  # noqa: PLC0415

        try:
            take()
        except (ScramException, KeyError, ValueError) as error:
            raise refusal from error
