"""Floor 1: facts of a raw message: digests, Message-ID, line ends; read from octets, never by parsing MIME."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from io import IncrementalNewlineDecoder
from typing import NamedTuple

HEADER_MAX_BYTES = 256 * 1024
_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*(?:\r?\n[ \t]+)?([^\r\n]{1,998})", re.IGNORECASE | re.MULTILINE)
_HEADER_END = re.compile(rb"(?:\A|\n)\r?\n")
_LONE_LF = re.compile(rb"\n(?<!\r\n)")
"""NOTE: what begins with an octet is looked for forty times as fast as what begins with a look behind."""
_AT_ONCE = 64 * 1024
"""So many octets are copied at once where they become characters, and octets again."""
_ARTEFACT = re.compile(
    rb"^(?:content-length|lines|status|x-status|x-tuid|x-offlineimap):[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
_TUID = re.compile(rb"^X-TUID: [^\r\n]{12}\r?\n", re.MULTILINE)
TUID_BYTES = len(b"X-TUID: abcdefghijkl\r\n")
"""By so much is what mbsync has sent longer on its server than the file that it was sent from."""


class BodyFacts(NamedTuple):
    """Describe raw octets: a body, as a server gave it.

    digest: SHA-256 of all octets. header_digest: SHA-256 of the octets up to and with the empty line, at most
    the first 256 KiB. size_bytes: their number. lf_size_bytes: their number once each CRLF is a LF.
    is_crlf: every line end is CRLF, so that a file with LF gives these octets back.
    """

    digest: bytes
    header_digest: bytes
    message_id: str | None
    size_bytes: int
    lf_size_bytes: int
    is_crlf: bool


class BodyReader:
    """Gather the facts of a body fed in pieces, in constant memory.

    NOTE: every octet of a first sync passes here, so each is looked at twice: by the digest, and by what makes one line
    end of all kinds, which tells of which kinds there were.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._line_ends = IncrementalNewlineDecoder(None, translate=True)
        self._header: bytes | None = None
        self._head = bytearray()
        self._size = self._lf_size = 0
        self._ends_in_cr = False

    def feed(self, piece: bytes) -> None:
        """Take the next octets."""
        for _ in self._texts(piece):
            pass

    def feed_to_lf(self, piece: bytes) -> bytes:
        """Take the next octets, and return what an `is_crlf` body has there with LF line ends.

        A CR that ends a piece comes with the next one.
        """
        return b"".join(text.encode("latin-1") for text in self._texts(piece))

    def _texts(self, piece: bytes) -> Iterator[str]:
        self._digest.update(piece)
        self._size += len(piece)
        self._ends_in_cr = piece[-1:] == b"\r" if piece else self._ends_in_cr
        if self._header is None and len(self._head) < HEADER_MAX_BYTES:
            self._feed_head(piece)
        for at in range(0, len(piece), _AT_ONCE):
            text = self._line_ends.decode(piece[at : at + _AT_ONCE].decode("latin-1"))
            self._lf_size += len(text)
            yield text

    def facts(self) -> BodyFacts:
        """Return the facts of all pieces fed so far."""
        header = self._header
        if header is None:
            end = _HEADER_END.search(self._head)
            header = bytes(self._head[: end.end()] if end else self._head)
        found = _MESSAGE_ID.search(header)
        return BodyFacts(
            digest=self._digest.digest(),
            header_digest=hashlib.sha256(header).digest(),
            message_id=(_printable(found[1]) or None) if found else None,
            size_bytes=self._size,
            lf_size_bytes=self._lf_size + self._ends_in_cr,
            # NOTE: a lone CR would survive LF form, but is counted as odd: such a body is kept octet for octet.
            is_crlf=self._line_ends.newlines in {None, "\r\n"} and not self._ends_in_cr,
        )

    def _feed_head(self, piece: bytes) -> None:
        if not self._head and (end := _HEADER_END.search(piece, 0, HEADER_MAX_BYTES)):
            self._header = piece[: end.end()]
        else:
            self._head += piece[: HEADER_MAX_BYTES - len(self._head)]


def facts_of(pieces: Iterable[bytes]) -> BodyFacts:
    """Return the facts of a body given as pieces."""
    reader = BodyReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.facts()


def lf_pieces(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """Yield the pieces of an `is_crlf` body with LF line ends."""
    # NOTE: such a body has no CR but those of its line ends, and dropping an octet takes half as long as replacing two.
    return (piece.translate(None, b"\r") for piece in pieces)


def crlf_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield pieces with each lone LF as CRLF, as a server takes them; a lone CR is an octet of its line."""
    ends_in_cr = False
    for piece in pieces:
        is_split = ends_in_cr and piece[:1] == b"\n"
        ends_in_cr = piece[-1:] == b"\r" if piece else ends_in_cr
        # NOTE: a LF whose CR ended the piece before is no lone one.
        yield b"\n" + _with_crlf(piece[1:]) if is_split else _with_crlf(piece)


def _with_crlf(piece: bytes) -> bytes:
    # NOTE: files mostly have no CR, and of these it is done in a tenth of the time that a regular expression takes.
    return _LONE_LF.sub(b"\r\n", piece) if b"\r" in piece else piece.replace(b"\n", b"\r\n")


def bare_digest(pieces: Iterable[bytes]) -> bytes:
    """Return the SHA-256 of a body without the header fields in which programs keep notes of their own.

    Mutt and others add Content-Length, Lines, Status or X-Status when they save a message in another mailbox, mbsync
    and OfflineIMAP a line of their own to what they send.
    """
    digest = hashlib.sha256()
    for piece in _without(_ARTEFACT, pieces):
        digest.update(piece)
    return digest.digest()


def untagged_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield pieces without the line by which mbsync knows again what it has fetched: the octets that its server has."""
    return _without(_TUID, pieces)


def _without(fields: re.Pattern[bytes], pieces: Iterable[bytes]) -> Iterator[bytes]:
    head: bytearray | None = bytearray()
    for piece in pieces:
        if head is None:
            yield piece
            continue
        head += piece
        if _HEADER_END.search(head) or len(head) >= HEADER_MAX_BYTES:
            yield _head_without(fields, head)
            head = None
    if head is not None:
        yield _head_without(fields, head)


def _head_without(fields: re.Pattern[bytes], head: bytes | bytearray) -> bytes:
    found = _HEADER_END.search(head)
    end = found.end() if found else len(head)
    return fields.sub(b"", bytes(head[:end])) + head[end:]


def _printable(octets: bytes) -> str:
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else f"%{octet:02X}" for octet in octets.strip())
