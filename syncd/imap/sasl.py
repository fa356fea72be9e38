"""Floor 3: SASL mechanisms as pure conversations, and the choice among what a server offers."""

from typing import Protocol

from syncd.values import Opaque


class Mechanism(Protocol):
    """One authentication as a conversation (RFC 4422); it holds secrets, so it has no repr of its own."""

    @property
    def name(self) -> str: ...

    def first(self) -> bytes:
        """Return the client's first message, for SASL-IR or the server's first empty challenge."""
        ...

    def answer(self, challenge: bytes) -> bytes | None:
        """Return the response to a further challenge, or None to break off."""
        ...

    def is_proven(self) -> bool:
        """Tell whether the server has shown what the mechanism wants of it; asked when the server says OK."""
        ...


class Plain(Opaque):
    """PLAIN (RFC 4616): only ever sent where the caller made sure of encryption."""

    username: str
    password: str
    name: str = "PLAIN"

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

    def first(self) -> bytes:
        return self.username.encode()

    def answer(self, challenge: bytes) -> bytes | None:
        return None

    def is_proven(self) -> bool:
        return True


def choose_mechanism(capabilities: frozenset[str], username: str, password: str | None) -> Mechanism | None:
    """Return the best mechanism offered, None where only the LOGIN command is left, or nothing without a password."""
    if password is None:
        return External(username) if "AUTH=EXTERNAL" in capabilities else None
    return Plain(username, password) if "AUTH=PLAIN" in capabilities else None
