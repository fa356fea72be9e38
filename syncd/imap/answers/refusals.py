"""Floor 3: a server's NO and BAD as errors, its words made fit for logs."""

import base64
import binascii
import re

from syncd.errors import LoginRefusedError, Reach, RefusedError
from syncd.imap.types import Copied, RespText, Tagged
from syncd.sasl.mechanisms import Secret, temper_of_refusal
from syncd.sasl.tokens import Token
from syncd.values import replace

_TEXT_MAX = 120
_ADDRESS = re.compile(r"\S*@\S*")
_WORD = re.compile(rb"[A-Za-z0-9+/=]{4,}")
_LONG_WORD = re.compile(rb"[A-Za-z0-9+/=._~-]{16,}")
OF_MAILBOX = frozenset({"TRYCREATE", "NONEXISTENT", "NOPERM"})
"""Codes that every message meets alike: the target mailbox is not there, or not ours to write to."""
OF_TROUBLE = frozenset({"SERVERBUG", "UNAVAILABLE"})
"""Codes that say nothing of what was done: a server in trouble may have done it all the same."""
OF_THE_MOMENT = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "THROTTLED", "OVERQUOTA", "SYS/TEMP"})
"""Codes that say nothing of what was asked: it may be granted at another time."""


class NotUnderstoodError(RefusedError):
    """The server said BAD: it does not know the command, or what was asked with it (RFC 9051 §7.1.3)."""


class CopyRefusedError(RefusedError):
    """The server said NO to COPY or MOVE; copied: what it had done before, by its word.

    Code TRYCREATE: the target is missing and may be made. A refused MOVE may be half done, also message by message:
    observe. A refused COPY has done nothing beyond `copied` (RFC 3501 §6.4.7).
    """

    def __init__(self, text: str, *, code: str, copied: Copied | None) -> None:
        super().__init__(text, code=code, reach=Reach.MESSAGE)
        self.copied = copied


def said(text: RespText) -> str:
    """Return a server's words for an error, in quotes: one short printable line without addresses."""
    words = "".join(chr(octet) if 0x20 <= octet < 0x7F else "?" for octet in text.text[: 4 * _TEXT_MAX])
    words = _ADDRESS.sub("<address>", words).replace('"', "'").strip()
    return f'"{words[:_TEXT_MAX]}"'


def refusal(what: str, end: Tagged, *, reach: Reach | None = None) -> RefusedError:
    """Return the error for a command that ended in NO or BAD."""
    kind = NotUnderstoodError if end.kind == "BAD" else RefusedError
    return kind(f"{what} refused by the server: {said(end.text)}", code=end.text.code, reach=reach)


def login_refusal(end: Tagged, secret: Secret, *, complaint: str = "") -> RefusedError:
    """Return the error for a failed login: final unless the server's code says that waiting helps (RFC 5530).

    complaint: what the server said of it besides. Another token may do where this one did not.
    """
    end = replace(end, text=replace(end.text, text=without(secret, end.text.text)))
    if end.text.code in OF_THE_MOMENT:
        return refusal("login", end)
    because = f" ({complaint})" if complaint else ""
    return LoginRefusedError(
        f"login refused by the server: {said(end.text)}{because}", code=end.text.code, temper=temper_of_refusal(secret)
    )


def without(secret: Secret, words: bytes) -> bytes:
    """Return what a server says of a login without what we said there: some repeat the command that they refuse."""
    if secret is None:
        return words
    if isinstance(secret, Token):
        return _LONG_WORD.sub(b"...", words)  # NOTE: what is cut off at some length is no token, and still too much
    password = secret.encode()
    return _WORD.sub(lambda word: b"..." if password in _decoded(word[0]) else word[0], words).replace(password, b"...")


def _decoded(word: bytes) -> bytes:
    try:
        return base64.b64decode(word + b"=" * (-len(word) % 4))
    except binascii.Error:
        return b""
