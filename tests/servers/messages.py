"""Seeded mail of every odd kind that mailboxes hold, in realistic sizes, as octets with CRLF.

The sizes are lognormal with a median of 6.6 KB and a mean of about 29.5 KB, so a few messages hold most of the octets.
"""

import base64
import datetime
import math
import random
from collections.abc import Callable, Collection, Iterator
from enum import StrEnum
from functools import cached_property

MEDIAN_BYTES = 6_600
MEAN_BYTES = 29_500
LARGEST_BYTES = 4_500_000
_SIGMA = math.sqrt(2 * math.log(MEAN_BYTES / MEDIAN_BYTES))
_NEWEST = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
_POOL_LINES = 4_000
_VOCABULARY = (
    "about after again answer arrive because before between carry change clear close copy device early every flag "
    "follow garden harbour harvest journey keep kitchen laptop letter light mailbox market meeting message minute "
    "morning nothing number offer often paper phone plain please quiet reason receive record return round sailing "
    "season second server settle short simple station still store street summer table thank ticket together "
    "tomorrow train travel under until useful visit water weather weekend window winter without wonder yellow"
)
_WORDS = tuple(_VOCABULARY.split())
_NAMES = ("Ana Kovács", "Bo Lindqvist", "Chen Wei", "Dara Ní Bhriain", "Елена Орлова", "Farid حداد", "山田 花子")


class Kind(StrEnum):
    """What is special about a message."""

    PLAIN = "plain"
    HTML = "html"
    ATTACHMENT = "attachment"
    UTF8_HEADER = "utf8_header"
    ENCODED_HEADER = "encoded_header"
    FOLDED_HEADER = "folded_header"
    NO_MESSAGE_ID = "no_message_id"
    NO_DATE = "no_date"
    EIGHT_BIT = "eight_bit"
    BARE_LF = "bare_lf"
    LONG_LINES = "long_lines"
    DOT_LINES = "dot_lines"
    FROM_LINES = "from_lines"
    NO_HEADER = "no_header"
    NO_BODY = "no_body"
    NO_FINAL_LINE_END = "no_final_line_end"
    EMPTY = "empty"


_LINE_BYTES = 500_000
"""How long a line is at most; getmail6 takes none of a megabyte."""

# How often each kind is in a hundred messages; EMPTY is left out, because IMAP servers refuse to append nothing.
_SHARES = {
    Kind.PLAIN: 34,
    Kind.HTML: 26,
    Kind.ATTACHMENT: 12,
    Kind.ENCODED_HEADER: 9,
    Kind.FOLDED_HEADER: 5,
    Kind.UTF8_HEADER: 2,
    Kind.NO_MESSAGE_ID: 2,
    Kind.NO_DATE: 1,
    Kind.EIGHT_BIT: 2,
    Kind.BARE_LF: 1,
    Kind.LONG_LINES: 2,
    Kind.DOT_LINES: 1,
    Kind.FROM_LINES: 1,
    Kind.NO_HEADER: 0.5,
    Kind.NO_BODY: 0.5,
    Kind.NO_FINAL_LINE_END: 1,
}


def _long_lines(octets: bytes) -> bytes:
    return b"".join(octets[at : at + _LINE_BYTES] + b"\r\n" for at in range(0, len(octets), _LINE_BYTES))


class Writer:
    """Write messages; the same seed gives the same messages in the same order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._count = 0

    def corpus(self, count: int, *, leave_out: Collection[Kind] = ()) -> Iterator[bytes]:
        """Yield `count` messages of mixed kinds and sizes."""
        shares = {kind: share for kind, share in _SHARES.items() if kind not in leave_out}
        for kind in self._random.choices(tuple(shares), tuple(shares.values()), k=count):
            yield self.message(kind)

    def one_of_each(self) -> dict[Kind, bytes]:
        """Return a message of every kind, the empty one included."""
        return {kind: self.message(kind) for kind in Kind}

    def message(self, kind: Kind, size_bytes: int | None = None) -> bytes:
        """Return the next message, of about `size_bytes` (drawn from the distribution when None)."""
        self._count += 1
        size_bytes = size_bytes or self._size()
        match kind:
            case Kind.EMPTY:
                return b""
            case Kind.NO_BODY:
                return self._header(kind)
            case Kind.NO_HEADER:
                return b"\r\n" + self._text(size_bytes)
            case Kind.BARE_LF:
                return (self._header(kind) + b"\r\n" + self._text(size_bytes)).replace(b"\r\n", b"\n")
            case Kind.NO_FINAL_LINE_END:
                return (self._header(kind) + b"\r\n" + self._text(size_bytes)).removesuffix(b"\r\n")
            case Kind.ATTACHMENT:
                return self._header(kind) + self._parts(size_bytes)
            case _:
                write = self._bodies.get(kind, self._text)
                header = self._header(kind)
                return header + b"\r\n" + write(max(size_bytes - len(header), 1))

    @cached_property
    def _bodies(self) -> dict[Kind, Callable[[int], bytes]]:
        return {
            Kind.HTML: self._html,
            Kind.EIGHT_BIT: self._latin,
            Kind.LONG_LINES: lambda size: _long_lines(b"x" * max(size, 3_000)),
            Kind.DOT_LINES: lambda size: b".\r\n..\r\n.dot\r\n\r\n.\r\n" + self._text(size),
            Kind.FROM_LINES: lambda size: b"From the harbour\r\n>From the station\r\n" + self._text(size),
        }

    def _header(self, kind: Kind) -> bytes:
        sender, receiver = self._random.sample(_NAMES, 2)
        subject = " ".join(self._random.choices(_WORDS, k=self._random.randint(2, 7)))
        fields = [
            f"From: {_encoded(sender)} <sender{self._random.randrange(200)}@example.org>",
            f"To: {_encoded(receiver)} <reader@example.net>",
            f"Subject: {subject} {self._count}",
        ]
        if kind is Kind.UTF8_HEADER:
            fields = [f"From: {sender} <sender@example.org>", f"Subject: Grüße, 花 und {subject} {self._count}"]
        if kind is Kind.ENCODED_HEADER:
            fields[2] = f"Subject: {_encoded(f'Örök {subject} {self._count} ✓')}"
        if kind is Kind.FOLDED_HEADER:
            fields.append("References:" + "".join(f"\r\n\t<{i}.{self._count}@example.org>" for i in range(12)))
            fields.append("X-Empty:")
            fields.append("Received: from mx.example.org by mx.example.net;\r\n   Sun, 1 Mar 2026 10:00:00 +0000")
        if kind is not Kind.NO_DATE:
            date = _NEWEST - datetime.timedelta(seconds=self._random.randrange(3 * 365 * 86400))
            fields.append(f"Date: {date:%a, %d %b %Y %H:%M:%S +0000}")
        if kind is not Kind.NO_MESSAGE_ID:
            fields.append(f"Message-ID: <{self._count}.{self._random.getrandbits(64):016x}@example.org>")
        if kind is Kind.HTML:
            fields.append("MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8")
        return "".join(f"{field}\r\n" for field in fields).encode()

    def _text(self, size_bytes: int) -> bytes:
        start = self._random.randrange(len(self._pool) // 2)
        repeats = 1 + (start + size_bytes) // len(self._pool)
        cut = (self._pool * repeats)[start : start + size_bytes]
        return cut[: cut.rfind(b"\r\n")] + b"\r\n" if b"\r\n" in cut else b"short\r\n"

    def _html(self, size_bytes: int) -> bytes:
        return b"<html><body><p>" + self._text(size_bytes).replace(b". ", b".</p><p>") + b"</p></body></html>\r\n"

    def _latin(self, size_bytes: int) -> bytes:
        return _long_lines("Übergrößenträger \xff\xfe\x80 ".encode("latin-1") * (1 + size_bytes // 24))

    def _parts(self, size_bytes: int) -> bytes:
        data = base64.encodebytes(self._random.randbytes(size_bytes * 3 // 4)).replace(b"\n", b"\r\n")
        return (
            b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="part"\r\n\r\n'
            b"--part\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
            + self._text(400)
            + b"--part\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
            b"Content-Disposition: attachment; filename*=utf-8''%C3%A1bra.bin\r\n\r\n" + data + b"--part--\r\n"
        )

    def _size(self) -> int:
        return max(200, min(LARGEST_BYTES, round(self._random.lognormvariate(math.log(MEDIAN_BYTES), _SIGMA))))

    @cached_property
    def _pool(self) -> bytes:
        writer = random.Random(self._random.random())
        lines = (" ".join(writer.choices(_WORDS, k=writer.randint(1, 12))) for _ in range(_POOL_LINES))
        return "".join(f"{line.capitalize()}. \r\n" if len(line) % 5 else "\r\n" for line in lines).encode()


def _encoded(text: str) -> str:
    if text.isascii():
        return text
    return f"=?utf-8?b?{base64.b64encode(text.encode()).decode()}?="
