"""Floor 3: the answers of a POP3 server, out of octets that arrive in any pieces: pure, incremental, linear.

Theory. An answer is a status line, and for some commands, if it is +OK, a multi-line part that ends in a lone dot
(RFC 1939 §3). Only the client knows which commands those are, so it calls `expect_*` for each command it sends, in
order. `next` then gives `Status`, and for a multi-line answer `Piece`s and `End`; at a login a `Challenge` before it.

The status line's own line end stays in the buffer as the first octets of the multi-line part. So the end is always
found as CRLF.CRLF, also when the part is empty, and a stuffed dot as CRLF.. ; nothing is ever split into lines.
A line that starts with one dot and goes on was not stuffed by the server: it is kept as it is.
"""

import re
from collections import deque
from typing import Literal

from syncd.errors import ProtocolError
from syncd.values import Value

PIECE_BYTES = 64 * 1024
"""A multi-line part is handed on when it is complete or longer than this."""

_CHALLENGE = re.compile(rb"\+(?: (.*))?", re.DOTALL)
_STATUS = re.compile(
    rb"(\+OK|-ERR)(?![0-9A-Za-z])[ \t]*(?:\[([0-9A-Za-z/_-]{1,40})\])?[ \t]*(.*)", re.IGNORECASE | re.DOTALL
)


class Status(Value):
    """Hold a status line; `code` is its response code in upper case (RFC 2449 §8), empty when there is none."""

    is_ok: bool
    code: str
    text: bytes


class Challenge(Value):
    """Hold what the server wants to be answered before it ends a login (RFC 5034 §4), as it is: base64."""

    text: bytes


class Piece(Value):
    """Hold the next octets of a multi-line part, dots un-stuffed, line ends as on the wire."""

    octets: bytes


class End(Value):
    """Mark the end of a multi-line part; the last line end before the lone dot belongs to its octets."""


Event = Status | Challenge | Piece | End

_END = End()


class _Dialect(Value):
    """Spell line ends as the server does; `ends`: what after a line's first dot makes that line the last."""

    eol: bytes
    ends: tuple[bytes, ...]

    @property
    def dot(self) -> bytes:
        """Return how a line with a dot begins."""
        return self.eol + b"."

    @property
    def decided(self) -> int:
        """Return after how many octets from its line end on it is known what such a line is."""
        return len(self.dot) + 2


_CRLF = _Dialect(b"\r\n", (b"\r\n",))
# NOTE: servers that end lines in a bare LF exist. A bare LF is an ordinary octet to all others, so that
# LF.LF inside a message of a proper server does not end it.
_LF = _Dialect(b"\n", (b"\n", b"\r\n"))


class AnswerReader:
    """Turn octets into the answers that were asked for; ProtocolError when they are not, or exceed a limit."""

    def __init__(self, *, line_bytes: int) -> None:
        self._line_bytes = line_bytes
        self._buffer = bytearray()
        self._scanned = 0
        self._expected: deque[int | Literal["line", "login"]] = deque()
        self._room = 0
        self._dialect: _Dialect | None = None
        self._skip = 0
        self._has_stuffed = False
        self._is_ending = False

    def expect_line(self) -> None:
        """Say that the next command sent has an answer of one line."""
        self._expected.append("line")

    def expect_login(self) -> None:
        """Say that the next command sent has an answer of one line, before which the server may challenge us."""
        self._expected.append("login")

    def expect_lines(self, max_bytes: int) -> None:
        """Say that the next command sent has a multi-line answer of at most `max_bytes` if it is +OK."""
        self._expected.append(max_bytes)

    def feed(self, octets: bytes) -> None:
        """Take octets as they came."""
        self._buffer += octets

    @property
    def has_leftover(self) -> bool:
        """Tell whether octets are there that no event has used up."""
        return bool(self._buffer)

    def next(self) -> Event | None:
        """Return the next event, None when more octets are needed."""
        if self._dialect is not None:
            return self._in_lines(self._dialect)
        if not self._buffer:
            return None
        if not self._expected:
            raise ProtocolError("the server spoke unasked")
        return self._status_line()

    def _status_line(self) -> Status | Challenge | None:
        buffer = self._buffer
        at = buffer.find(b"\n", self._scanned, self._line_bytes)
        if at < 0:
            if len(buffer) >= self._line_bytes:
                raise ProtocolError(f"a status line of more than {self._line_bytes} octets")
            self._scanned = len(buffer)
            return None
        dialect = _CRLF if buffer[at - 1 : at] == b"\r" else _LF
        end = at + 1 - len(dialect.eol)
        match = _STATUS.fullmatch(buffer, 0, end)
        if match is None and self._expected[0] == "login" and (challenge := _CHALLENGE.fullmatch(buffer, 0, end)):
            text = bytes(challenge[1] or b"")
            self._use_up(at + 1)
            return Challenge(text)
        if match is None:
            raise ProtocolError("neither +OK nor -ERR: the session is out of step")
        is_ok = match[1].upper() == b"+OK"
        status = Status(is_ok, (match[2] or b"").decode("ascii").upper(), bytes(match[3]))
        expected = self._expected.popleft()
        if is_ok and isinstance(expected, int):
            self._dialect, self._room, self._skip = dialect, expected, len(dialect.eol)
            self._use_up(end)
        else:
            self._use_up(at + 1)
        return status

    def _in_lines(self, dialect: _Dialect) -> Piece | End | None:
        if self._is_ending:
            self._is_ending, self._dialect = False, None
            return _END
        buffer = self._buffer
        if (end := self._look_for_end(dialect)) is not None:
            start, after = end
            piece = self._take(start + len(dialect.eol), dialect)
            self._use_up(after - start - len(dialect.eol))
            self._is_ending = True
            return piece if piece.octets else self._in_lines(dialect)
        if len(buffer) < PIECE_BYTES:
            return None
        cut = buffer.rfind(dialect.eol)
        if cut < 0 or len(buffer) - cut >= dialect.decided:
            # No dot is undecided: all but half a line end can go.
            cut = len(buffer) - buffer.endswith(b"\r")
        return self._take(cut, dialect)

    def _look_for_end(self, dialect: _Dialect) -> tuple[int, int] | None:
        """Return where the end begins, with the line end before it, and what follows it.

        Notes whether a dot was stuffed before that.
        """
        # NOTE: nearly all that comes passes here, and lines that begin with a dot are rare: one search finds them all.
        buffer, dot = self._buffer, dialect.dot
        at = buffer.find(dot, self._scanned)
        while at >= 0:
            after = at + len(dot)
            for end in dialect.ends:
                if buffer.startswith(end, after):
                    return at, after + len(end)
            if len(buffer) - at < dialect.decided:
                self._scanned = at
                return None
            self._has_stuffed |= buffer.startswith(b".", after)
            at = buffer.find(dot, after)
        self._scanned = max(0, len(buffer) - len(dot) + 1)
        return None

    def _take(self, cut: int, dialect: _Dialect) -> Piece:
        if self._has_stuffed:
            stuffed = dialect.dot + b"."
            octets = bytes(self._buffer[:cut]).replace(stuffed, dialect.dot)[self._skip :]
        else:
            with memoryview(self._buffer) as view:
                octets = bytes(view[self._skip : cut])
        self._use_up(cut)
        self._skip = 0
        self._has_stuffed = False
        self._room -= len(octets)
        if self._room < 0:
            raise ProtocolError("a multi-line answer exceeds its limit")
        return Piece(octets)

    def _use_up(self, count: int) -> None:
        del self._buffer[:count]
        self._scanned = 0
