"""Floor 3: command arguments as octets: strings always quoted or literal, never raw."""

import time
from collections.abc import AsyncGenerator, AsyncIterable

from syncd.mail.flags import Flags, format_flags
from syncd.values import Opaque, Value

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_QUOTED_MAX_BYTES = 1000
_SLICE_BYTES = 256 * 1024


class Streamed(Value):
    """Octets that are produced while they are sent; more or fewer than size_bytes break the connection."""

    size_bytes: int
    pieces: AsyncIterable[bytes]


class Literal(Opaque):
    """An argument sent as a literal (RFC 3501 §4.3)."""

    content: bytes | Streamed

    @property
    def size_bytes(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.size_bytes


Argument = bytes | Literal
"""Octets that go to the wire as they are, or a literal."""


def string(octets: bytes) -> Argument:
    """Return octets as a quoted string, or as a literal where a quoted string cannot hold them.

    NUL is in neither: ValueError.
    """
    if b"\0" in octets:
        raise ValueError("NUL in a command argument")
    if len(octets) > _QUOTED_MAX_BYTES or not all(0x20 <= octet < 0x7F for octet in octets):
        return Literal(octets)
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def flag_list(flags: Flags) -> bytes:
    """Return flags as a parenthesised list; they are atoms by construction."""
    return b"(" + format_flags(flags).encode("ascii") + b")"


def date_time(seconds: int) -> bytes:
    """Return seconds since 1970 as a date-time in UTC (RFC 3501 §9); years outside 1..9999 become 1970."""
    try:
        moment = time.gmtime(seconds)
    except (OverflowError, OSError, ValueError):
        moment = time.gmtime(0)
    if not 1 <= moment.tm_year <= 9999:
        moment = time.gmtime(0)
    clock = time.strftime("%H:%M:%S +0000", moment)
    return f'"{moment.tm_mday:2d}-{_MONTHS[moment.tm_mon - 1]}-{moment.tm_year:04d} {clock}"'.encode()


def command_line(*arguments: Argument) -> tuple[Argument, ...]:
    """Return arguments joined by single spaces; ValueError when plain octets could end the line."""
    joined: list[Argument] = []
    for argument in arguments:
        if isinstance(argument, bytes) and (b"\r" in argument or b"\n" in argument or b"\0" in argument):
            raise ValueError("NUL, CR or LF in a command argument")
        if joined:
            joined.append(b" ")
        joined.append(argument)
    return tuple(joined)


async def pieces_of(literal: Literal) -> AsyncGenerator[bytes, None]:
    """Yield the octets of a literal; ValueError where what is streamed is not as long as announced."""
    if isinstance(literal.content, bytes):
        for at in range(0, literal.size_bytes, _SLICE_BYTES):
            yield literal.content[at : at + _SLICE_BYTES]
        return
    left = literal.size_bytes
    async for piece in literal.content.pieces:
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise ValueError("a streamed literal is not as long as announced")
