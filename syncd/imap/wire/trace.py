"""Floor 3: what of commands and responses may be shown; pure, except for the three that show it."""

import re
from collections.abc import Sequence

from syncd import trace
from syncd.imap.types import Octets
from syncd.imap.wire.arguments import Argument

_SECRET = frozenset({"LOGIN", "AUTHENTICATE"})
_WITH_NAMES = re.compile(
    r"APPEND|COPY|CREATE|DELETE|EXAMINE|ID|LIST|LSUB|MOVE|NAMESPACE|RENAME|SELECT|STATUS|(?:UN)?SUBSCRIBE"
    r"|OK|NO|BAD|BYE|PREAUTH"
)
"""In these commands and responses strings are names and dates; elsewhere they may be of a header."""
_STRING = re.compile(rb'"(?>[^"\\]*+(?:\\.[^"\\]*+){0,10000})(?:"|.*)', re.DOTALL)
_LITERAL = re.compile(rb"\{\d+\+?\}\Z")


def sent(tag: str, name: str, arguments: Sequence[Argument]) -> None:
    """Show a command."""
    trace.sent(f"{tag} {command_text(name, arguments)}")


def received(pieces: Sequence[Octets]) -> None:
    """Show an untagged response."""
    trace.received(f"* {response_text(pieces)}")


def ended(line: bytes) -> None:
    """Show how a command ended."""
    trace.received(trace.text_of(line))


def command_text(name: str, arguments: Sequence[Argument]) -> str:
    """Return a command as it may be shown."""
    if name in _SECRET:
        return f"{name} …"
    parts = [one if isinstance(one, bytes) else b"{%d octets}" % one.size_bytes for one in arguments]
    line = b"".join(parts)
    line = line if _WITH_NAMES.fullmatch(name.removeprefix("UID ")) else _STRING.sub(b'"..."', line)
    return f"{name} {trace.text_of(line)}".rstrip()


def response_text(pieces: Sequence[Octets]) -> str:
    """Return an untagged response, given without its `* `, as it may be shown."""
    first = pieces[0] if isinstance(pieces[0], bytes) else b""
    is_of_names = bool(_WITH_NAMES.fullmatch(first.partition(b" ")[0].upper().decode("ascii", "replace")))
    line = b""
    for at, piece in enumerate(pieces):
        if at % 2:
            size = len(piece) if isinstance(piece, bytes) else piece.size_bytes
            line = _LITERAL.sub(b"", line) + b"{%d octets}" % size
        elif isinstance(piece, bytes):
            line += piece if is_of_names else _STRING.sub(b'"..."', piece)
    return trace.text_of(line)
