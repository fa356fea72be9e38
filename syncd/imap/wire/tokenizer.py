"""Floor 3: the linear cut of a server's octets into responses, wherever the chunks end."""

import re
from typing import Protocol

from syncd.errors import ProtocolError
from syncd.imap.types import Octets
from syncd.imap.wire.limits import Limits

_PLAIN = re.compile(rb"(?>(?:\* [^\r\n{}]{0,900}+\r\n)+)")
"""Whole lines of data that no literal is in, and that are within any limit: most of what a server says.

NOTE: no `++` of a group: before Python 3.11.5 it also takes the beginning of the one that does not match any more. An
atomic group instead remembers each repetition, so those of a whole line are bounded.
"""
_LITERAL = re.compile(rb"\{([^{}\"]*)\}\Z")
_STATUS = re.compile(rb"(?:OK|NO|BAD|BYE|PREAUTH)(?: |\Z)", re.IGNORECASE)


class LiteralSink(Protocol):
    """Take a large literal's octets as they arrive; `done`, after the last, gives what stands for it."""

    def write(self, piece: bytes) -> None: ...

    def done(self) -> Octets: ...


class ResponseHandler(Protocol):
    """Take the responses of a server in their order."""

    def on_untagged(self, pieces: tuple[Octets, ...]) -> None:
        """Take an untagged response without its `* ` as text, literal, text, ..., text."""
        ...

    def on_lines(self, texts: list[bytes]) -> None:
        """Take untagged responses that have no literals, each without its `* `."""
        ...

    def on_tagged(self, line: bytes) -> None: ...

    def on_continuation(self, text: bytes) -> None: ...

    def open_literal(self, size_bytes: int) -> LiteralSink | None:
        """Return a sink for a literal that is too large for memory, or None to refuse it."""
        ...


class Tokenizer:
    """Cut octets into responses; every octet is looked at a bounded number of times."""

    def __init__(self, handler: ResponseHandler, limits: Limits) -> None:
        self._handler = handler
        self._limits = limits
        self._line_max_bytes = limits.greeting_max_bytes
        self._is_sealed = False
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._pieces: list[Octets] = []
        self._response_bytes = 0
        self._literal: bytearray | LiteralSink | None = None
        self._literal_left = 0

    def trust(self) -> None:
        """Allow the long lines that only a server we are logged in to has a use for."""
        self._line_max_bytes = self._limits.line_max_bytes

    def seal(self) -> None:
        """Refuse every further octet until `unseal`: what follows must not come in the clear."""
        self._is_sealed = True

    def unseal(self) -> None:
        self._is_sealed = False

    def feed(self, data: bytes) -> None:
        """Hand over every response that `data` completes; ProtocolError on malformed or excessive input."""
        at, end = 0, len(data)
        while at < end:
            if self._is_sealed:
                raise ProtocolError("the server sent more before encryption began")
            if self._literal is not None:
                piece = data[at : at + self._literal_left]
                at += len(piece)
                self._feed_literal(piece)
                continue
            if not self._tail and not self._pieces and (plain := _PLAIN.match(data, at)) is not None:
                at = plain.end()
                self._handler.on_lines(plain[0][2:-2].split(b"\r\n* "))
                continue
            newline = data.find(b"\n", at)
            self._tail_bytes += (end if newline < 0 else newline) - at
            if self._tail_bytes > self._line_max_bytes:
                raise ProtocolError("the server sent a line beyond our limit")
            if newline < 0:
                self._tail.append(data[at:])
                return
            line = data[at:newline]
            if self._tail:
                line = b"".join((*self._tail, line))
                self._tail.clear()
            self._tail_bytes = 0
            at = newline + 1
            # NOTE: a bare LF ends a line as well; no response text can hold one.
            self._on_line(line.removesuffix(b"\r"))

    def _on_line(self, line: bytes) -> None:
        if not self._pieces:
            if not line:
                return
            if line.startswith(b"+"):
                self._handler.on_continuation(line[1:].lstrip())
                return
            if not line.startswith(b"* "):
                self._handler.on_tagged(line)
                return
            line = line[2:]
        # NOTE: a status text may end in `{5}`; only data responses hold literals.
        if line.endswith(b"}") and (self._pieces or not _STATUS.match(line)):
            announced = _LITERAL.search(line)
            if announced is not None:
                self._count(len(line))
                self._pieces.append(line)
                self._open_literal(announced[1])
                return
        if not self._pieces:
            self._handler.on_untagged((line,))
            return
        self._count(len(line))
        pieces = (*self._pieces, line)
        self._pieces.clear()
        self._response_bytes = 0
        self._handler.on_untagged(pieces)

    def _count(self, size_bytes: int) -> None:
        # NOTE: each piece also costs an object, so a response of countless empty literals ends here as well.
        self._response_bytes += size_bytes + 64
        if self._response_bytes > self._limits.response_max_bytes:
            raise ProtocolError("the server sent a response beyond our limit")

    def _open_literal(self, announced: bytes) -> None:
        if not announced.isdigit() or len(announced) > 12 or int(announced) > self._limits.literal_max_bytes:
            raise ProtocolError("the server announced a literal that is malformed or beyond our limit")
        size = int(announced)
        self._literal_left = size
        if size <= self._limits.memory_literal_max_bytes:
            self._count(size)
            self._literal = bytearray()
        else:
            self._literal = self._handler.open_literal(size)
            if self._literal is None:
                raise ProtocolError("the server sent a large literal that nobody asked for")
        if not size:
            self._feed_literal(b"")

    def _feed_literal(self, piece: bytes) -> None:
        self._literal_left -= len(piece)
        literal = self._literal
        if isinstance(literal, bytearray):
            if literal or self._literal_left:
                literal += piece
                piece = b"" if self._literal_left else bytes(literal)
            if not self._literal_left:
                self._pieces.append(piece)
                self._literal = None
        elif literal is not None:
            literal.write(piece)
            if not self._literal_left:
                self._pieces.append(literal.done())
                self._literal = None
