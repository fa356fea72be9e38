"""Floor 1: tokens of OAuth as proof of who somebody is: OAUTHBEARER (RFC 7628), and XOAUTH2, which came before it."""

import json
import re

from syncd.errors import Temper
from syncd.values import Opaque

_WORD = re.compile(r"[a-z]{1,16}(?:_[a-z]{1,16}){0,3}|[1-5][0-9]{2}")
"""What a status is: a word of RFC 6750 §3.1, or a number of HTTP. Nothing else is told of it, least of all a token."""
_TOKEN = re.compile(r"[0-9A-Za-z._~+/-]+=*")
"""RFC 6750 §2.1."""
_SCHEMES = frozenset({"basic", "bearer", "digest", "dpop", "mac", "pop"})
_COMPLAINT_MAX_BYTES = 4096


def is_token(text: str) -> bool:
    """Tell whether a text can be a token, and no complaint for people, or anything that would end a line."""
    return _TOKEN.fullmatch(text) is not None


class Token(Opaque):
    """A token that was asked for just now, for one login. follows_refused: so was the one before, which was refused."""

    text: str
    follows_refused: bool = False

    @property
    def refused(self) -> Temper:
        """Return what helps when it is refused: tokens expire and are revoked, so that another one may do, once."""
        return Temper.GIVE_UP if self.follows_refused else Temper.WAIT


class _TokenMechanism:
    """Say everything at once; what the server says against it is heard out, so that its NO comes."""

    name: str
    _heard: bytes
    """What a complaint is answered with."""

    def __init__(self, username: str, token: Token) -> None:
        self._username = username
        self._token = token.text
        self._has_complained = False
        self.complaint = ""

    def answer(self, challenge: bytes) -> bytes | None:
        if self._has_complained:
            return None
        self._has_complained = True
        self.complaint = complaint_of(challenge)
        return self._heard

    def is_proven(self) -> bool:
        return True  # it wants nothing


class OAuthBearer(_TokenMechanism):
    """OAUTHBEARER (RFC 7628 §3.1); it tells which server is meant, though bearers of tokens need not."""

    name = "OAUTHBEARER"
    _heard = b"\1"  # RFC 7628 §3.2.3

    def __init__(self, username: str, token: Token, *, server: tuple[str, int]) -> None:
        super().__init__(username, token)
        self._server = server

    def first(self) -> bytes:
        name = self._username.replace("=", "=3D").replace(",", "=2C")
        host, port = self._server
        return f"n,a={name},\1host={host}\1port={port}\1auth=Bearer {self._token}\1\1".encode()


class XOAuth2(_TokenMechanism):
    """XOAUTH2, as Google and Microsoft describe it."""

    name = "XOAUTH2"
    _heard = b""

    def first(self) -> bytes:
        return f"user={self._username}\1auth=Bearer {self._token}\1\1".encode()


def complaint_of(challenge: bytes) -> str:
    """Return what may be shown of what a server says against a token, which is JSON (RFC 7628 §3.2.2): known words."""
    try:
        told = json.loads(challenge[:_COMPLAINT_MAX_BYTES])
    except (ValueError, RecursionError):
        return ""
    if not isinstance(told, dict):
        return ""
    status, schemes = str(told.get("status", "")).lower(), str(told.get("schemes", "")).lower().split()
    words = [f"status {status}"] if _WORD.fullmatch(status) else []
    known = [one for one in dict.fromkeys(schemes) if one in _SCHEMES]
    return ", ".join((*words, *([f"it takes {' and '.join(known)}"] if known and "bearer" not in known else [])))
