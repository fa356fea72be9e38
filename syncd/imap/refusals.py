"""Floor 3, imap: a server's NO and BAD as errors, its words made fit for logs."""

import re

from syncd.errors import LoginRefusedError, Reach, RefusedError
from syncd.imap.types import RespText, Tagged

_TEXT_MAX = 120
_ADDRESS = re.compile(r"\S*@\S*")
_LOGIN_WAITS = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "THROTTLED", "OVERQUOTA", "SYS/TEMP"})


def said(text: RespText) -> str:
    """Return a server's words for an error: one short printable line without addresses."""
    words = "".join(chr(octet) if 0x20 <= octet < 0x7F else "?" for octet in text.text[: 4 * _TEXT_MAX])
    return _ADDRESS.sub("<address>", words).strip()[:_TEXT_MAX]


def refusal(what: str, end: Tagged, *, reach: Reach | None = None) -> RefusedError:
    """Return the error for a command that ended in NO or BAD."""
    return RefusedError(f"{what} refused by the server: {said(end.text)}", code=end.text.code, reach=reach)


def login_refusal(end: Tagged) -> RefusedError:
    """Return the error for a failed login: final unless the server's code says that waiting helps (RFC 5530)."""
    if end.text.code in _LOGIN_WAITS:
        return refusal("login", end)
    return LoginRefusedError(f"login refused by the server: {said(end.text)}", code=end.text.code)
