"""Floor 1: SASL mechanisms as pure conversations, and the choice among what a server offers."""

from collections.abc import Collection
from typing import Protocol

from syncd.errors import LoginRefusedError, Temper
from syncd.sasl.scram import Scram
from syncd.sasl.tokens import OAuthBearer, Token, XOAuth2
from syncd.values import Opaque

Secret = str | Token | None
"""What proves who somebody is: a password, a token of OAuth, or None: only the certificate that TLS has shown."""

SCRAMS = ("SCRAM-SHA-256", "SCRAM-SHA-1")


class Mechanism(Protocol):
    """One authentication as a conversation (RFC 4422); it holds secrets, so it has no repr of its own."""

    @property
    def name(self) -> str: ...

    @property
    def complaint(self) -> str:
        """What the server says is wrong, in words that may be shown; empty where it says nothing."""
        ...

    def first(self) -> bytes:
        """Return the client's first message, for SASL-IR or the server's first empty challenge."""
        ...

    def answer(self, challenge: bytes) -> bytes | None:
        """Return the response to a further challenge, or None to break off.

        It may take half a second of a processor. Raises TrustError or ProtocolError where nothing more may be said.
        """
        ...

    def is_proven(self) -> bool:
        """Tell whether the server has shown what the mechanism wants of it; asked when the server says OK."""
        ...


def temper_of_refusal(secret: Secret) -> Temper:
    """Return what helps where a login is refused."""
    return secret.refused if isinstance(secret, Token) else LoginRefusedError.temper


class Plain(Opaque):
    """PLAIN (RFC 4616): only ever sent where the caller made sure of encryption, or needs none."""

    username: str
    password: str
    name: str = "PLAIN"
    complaint: str = ""

    def first(self) -> bytes:
        if "\0" in self.username or "\0" in self.password:
            raise ValueError("NUL in a credential")
        return b"\0" + self.username.encode() + b"\0" + self.password.encode()

    def answer(self, challenge: bytes) -> bytes | None:
        return None

    def is_proven(self) -> bool:
        return True


class External(Opaque):
    """EXTERNAL (RFC 4422 appendix A): the certificate that TLS has shown is the proof; only the name is said."""

    username: str
    name: str = "EXTERNAL"
    complaint: str = ""

    def first(self) -> bytes:
        return self.username.encode()

    def answer(self, challenge: bytes) -> bytes | None:
        return None

    def is_proven(self) -> bool:
        return True


def choose_mechanism(
    offered: Collection[str], username: str, secret: Secret, *, is_private: bool, server: tuple[str, int]
) -> Mechanism | None:
    """Return the best mechanism of those offered, None where a password needs the protocol's own command.

    is_private: nobody can overhear what is said. server: its name and port, as the configuration has them.
    LoginRefusedError where a token or a certificate is of no use.
    """
    if secret is None:
        if "EXTERNAL" in offered:
            return External(username)
        raise LoginRefusedError("the server offers no login by a certificate (SASL EXTERNAL)")
    if isinstance(secret, Token):
        if OAuthBearer.name in offered:
            return OAuthBearer(username, secret, server=server)
        if XOAuth2.name in offered:
            return XOAuth2(username, secret)
        raise LoginRefusedError("the server takes no tokens: it offers neither OAUTHBEARER nor XOAUTH2")
    # NOTE: where nobody listens PLAIN comes first. Many servers announce SCRAM and have no verifier for this user, whom
    # a second try with something else would bring closer to being locked out. Where somebody may listen, no password is
    # sent that need not be.
    scrams = [name for name in SCRAMS if name in offered]
    if "PLAIN" in offered and (is_private or not scrams):
        return Plain(username, secret)
    return Scram(scrams[0], username, secret) if scrams else None
