"""Floor 1: mailbox names: parts in Unicode here, modified UTF-7 octets on an IMAP wire; patterns; special use."""

import base64
import binascii
import re
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache

from syncd.mail.flags import remembered
from syncd.values import Value, force_setattr

_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_ENCODED_RUN = re.compile(r"[^\x20-\x7e]+")
_LIKE_ESCAPED = re.compile(r"%(?=[0-9A-F]{2})")
_NOT_ESCAPED = re.compile(r"%25(?=[0-9A-F]{2})")
_OCTET = re.compile(r"%(?!25[0-9A-F]{2})[0-9A-F]{2}")
_CONTROL = re.compile(r"[\x00-\x1f]")
_REMEMBERED_MAX = 256
"""Names as long as this are remembered: all tasks read those of all mailboxes again and again."""


class SpecialUse(StrEnum):
    """What a mailbox is for (RFC 6154 §2), by its LIST attribute."""

    ALL = "\\All"
    ARCHIVE = "\\Archive"
    DRAFTS = "\\Drafts"
    FLAGGED = "\\Flagged"
    JUNK = "\\Junk"
    SENT = "\\Sent"
    TRASH = "\\Trash"
    IMPORTANT = "\\Important"


class MailboxName(Value, order=True):
    """Name a mailbox by the parts of its path, outermost first; INBOX in any case is INBOX (RFC 3501 §5.1)."""

    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("a mailbox name has at least one part")
        if self.parts[0] != "INBOX" and _is_inbox(self.parts[0]):
            force_setattr(self, "parts", ("INBOX", *self.parts[1:]))

    @classmethod
    def parse(cls, text: str) -> "MailboxName":
        """Return the name that `str()` gave this text."""
        return _parsed(text)

    def __str__(self) -> str:
        """Return the parts joined by `/`; a `/` or `%` inside a part is written %2F, %25."""
        text = "/".join(self.parts)
        if "%" not in text and text.count("/") < len(self.parts):  # nearly every name
            return text
        return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in self.parts)

    @property
    def is_inbox(self) -> bool:
        return self.parts == ("INBOX",)


@remembered(most=_REMEMBERED_MAX)
def _parsed(text: str) -> MailboxName:
    parts = text.split("/")
    if "%" in text:
        parts = [_ESCAPED.sub(lambda m: chr(int(m[1], 16)), part) for part in parts]
    return MailboxName(tuple(parts))


INBOX = MailboxName(("INBOX",))


def from_wire(octets: bytes, delimiter: str | None) -> MailboxName:
    """Return the name of a LIST response's octets; every octet string gives a name, and distinct ones distinct names.

    Octets that are not modified UTF-7 (RFC 3501 §5.1.3) as `to_wire` would write it, such as raw UTF-8, are kept as
    the text they look like, with %XX for what is no text: the mailbox can be shown and kept on devices, but only its
    octets address it on the server.
    """
    text = _decode(octets)
    parts = tuple(text.split(delimiter)) if delimiter else (text,)
    return MailboxName(parts)


def to_wire(name: MailboxName, delimiter: str | None) -> bytes:
    """Return the octets of a name for a server with this delimiter (not quoted); ValueError if none exist.

    For a name of `from_wire` these are the octets it came from, INBOX in any case apart, or ValueError.
    """
    for part in name.parts:
        if not part or (delimiter and delimiter in part) or _CONTROL.search(part):
            raise ValueError(f"no mailbox of this server can be called {part!r}")
    if len(name.parts) > 1 and not delimiter:
        raise ValueError("this server has no mailboxes inside mailboxes")
    text = (delimiter or "").join(name.parts)
    if _OCTET.search(text):
        raise ValueError("this mailbox is only known by its octets")
    return encode_utf7(_NOT_ESCAPED.sub("%", text))


def encode_utf7(text: str) -> bytes:
    """Return modified UTF-7 (RFC 3501 §5.1.3); ValueError for text that is no Unicode (a lone surrogate)."""

    def run(match: re.Match[str]) -> str:
        octets = match[0].encode("utf-16-be")
        return "&" + base64.b64encode(octets).decode().rstrip("=").replace("/", ",") + "-"

    return _ENCODED_RUN.sub(run, text.replace("&", "&-")).encode("ascii")


def decode_utf7(octets: bytes) -> str:
    """Return the text of modified UTF-7; ValueError when it is not, or not in its one canonical form."""
    pieces = octets.decode("ascii").split("&")
    text = [pieces[0]]
    for piece in pieces[1:]:
        encoded, dash, plain = piece.partition("-")
        if not dash:
            raise ValueError("unended base64 in modified UTF-7")
        if encoded:
            padded = encoded.replace(",", "/") + "=" * (-len(encoded) % 4)
            try:
                text.append(base64.b64decode(padded, validate=True).decode("utf-16-be"))
            except (binascii.Error, UnicodeDecodeError) as error:
                raise ValueError("bad base64 in modified UTF-7") from error
        else:
            text.append("&")
        text.append(plain)
    decoded = "".join(text)
    if encode_utf7(decoded) != octets:
        raise ValueError("not canonical modified UTF-7")
    return decoded


def _is_inbox(part: str) -> bool:
    # NOTE: ASCII only: upper() also makes INBOX of a dotless i.
    return part.isascii() and part.upper() == "INBOX"


def _decode(octets: bytes) -> str:
    with suppress(ValueError):
        text = decode_utf7(octets)
        if "\0" not in text:  # which is no text of PostgreSQL
            # A name that has %XX in it, which is rare, must not look like the octets below: its % is escaped too.
            return _LIKE_ESCAPED.sub("%25", text)
    # NOTE: raw 8-bit and broken modified UTF-7 exist on real servers. What of that is ASCII has an `&` in it, as a NUL
    # does, so that at least one %XX other than %25 tells these names from all others.
    return "".join(chr(o) if 0x20 <= o < 0x7F and o not in b"%&" else f"%{o:02X}" for o in octets)


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> re.Pattern[str]:
    first, slash, rest = pattern.partition("/")
    pieces = re.split(r"([*?])", ("INBOX" if _is_inbox(first) else first) + slash + rest)
    body = "".join({"*": ".*", "?": "[^/]"}.get(piece, re.escape(piece)) for piece in pieces)
    return re.compile(body, re.DOTALL)


def is_selected(name: MailboxName, patterns: tuple[str, ...]) -> bool:
    """Tell whether the patterns select a mailbox: `*` any text, `?` one character, `!` excludes, the last match wins.

    A pattern also covers the mailboxes inside what it names only if it ends in `*`.
    """
    selected = False
    text = str(name)
    for pattern in patterns:
        if _pattern(pattern.removeprefix("!")).fullmatch(text):
            selected = not pattern.startswith("!")
    return selected
