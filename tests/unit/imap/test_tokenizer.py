"""The cut of octets into responses does not depend on where the chunks end."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.imap.types import Octets, SpooledLiteral
from syncd.imap.wire.limits import Limits
from syncd.imap.wire.tokenizer import LiteralSink, Tokenizer

LIMITS = Limits(memory_literal_max_bytes=64)
LONG = b"SEARCH" + 500 * b" 1"
STREAM = (
    b"* OK [CAPABILITY IMAP4rev1] thanks {3}\r\n"
    b'* LIST (\\HasNoChildren) "/" "a* b"\r\n'
    b"* LIST () NIL {5}\r\na\r\nb)\r\n"
    b"* 1 FETCH (UID 1 BODY[] {20}\r\nA1 OK fake\r\n* 1 E\x00\xff FLAGS (\\Seen) X ~{0}\r\n Y {2}\r\n{3)\r\n"
    b"* 2 FETCH (BODY[] {100}\r\n" + b"long\r\n* BYE\r\n{9}\r\n".ljust(100, b"z") + b" UID 2)\r\n"
    b"+ go on\r\n"
    b"+\r\n"
    b"\r\n"
    b"* 3 EXISTS\n"
    b"* 4 EXISTS\r\n* 1 RECENT\r\n* \r\n* " + LONG + b"\r\n* 2 RECENT\r\n"
    b"A1 OK done {7}\r\n"
)


class Sink:
    def __init__(self) -> None:
        self.octets = b""

    def write(self, piece: bytes) -> None:
        self.octets += piece

    def done(self) -> Octets:
        return SpooledLiteral(self.octets, len(self.octets))


class Handler:
    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_untagged(self, pieces: tuple[Octets, ...]) -> None:
        self.seen.append(pieces)

    def on_lines(self, texts: list[bytes]) -> None:
        self.seen.extend((text,) for text in texts)

    def on_tagged(self, line: bytes) -> None:
        self.seen.append(("tagged", line))

    def on_continuation(self, text: bytes) -> None:
        self.seen.append(("continuation", text))

    def open_literal(self, size_bytes: int) -> LiteralSink:
        return Sink()


def responses(chunks: list[bytes]) -> list[object]:
    handler = Handler()
    tokenizer = Tokenizer(handler, LIMITS)
    for chunk in chunks:
        tokenizer.feed(chunk)
    return handler.seen


def test_whole_stream_is_cut_into_its_responses() -> None:
    """Literals keep every octet, whatever it looks like; only data responses hold literals."""
    seen = responses([STREAM])

    long = b"long\r\n* BYE\r\n{9}\r\n".ljust(100, b"z")
    assert seen == [
        (b"OK [CAPABILITY IMAP4rev1] thanks {3}",),
        (b'LIST (\\HasNoChildren) "/" "a* b"',),
        (b"LIST () NIL {5}", b"a\r\nb)", b""),
        (
            b"1 FETCH (UID 1 BODY[] {20}",
            b"A1 OK fake\r\n* 1 E\x00\xff ",
            b"FLAGS (\\Seen) X ~{0}",
            b"",
            b" Y {2}",
            b"{3",
            b")",
        ),
        (b"2 FETCH (BODY[] {100}", SpooledLiteral(long, 100), b" UID 2)"),
        ("continuation", b"go on"),
        ("continuation", b""),
        (b"3 EXISTS",),
        (b"4 EXISTS",),
        (b"1 RECENT",),
        (b"",),
        (LONG,),
        (b"2 RECENT",),
        ("tagged", b"A1 OK done {7}"),
    ]


def test_stream_split_at_every_octet_gives_the_same() -> None:
    """Two chunks, cut anywhere, and single octets, are read like one chunk."""
    whole = responses([STREAM])

    for at in range(len(STREAM)):
        assert responses([STREAM[:at], STREAM[at:]]) == whole, at
    assert responses([STREAM[at : at + 1] for at in range(len(STREAM))]) == whole


def test_stream_split_at_random_gives_the_same() -> None:
    """Many chunks of random lengths are read like one chunk."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    whole = responses([STREAM])

    for _ in range(300):
        cuts = sorted(chance.sample(range(len(STREAM)), chance.randrange(1, 40)))
        chunks = [STREAM[low:high] for low, high in zip([0, *cuts], [*cuts, len(STREAM)], strict=True)]
        assert responses(chunks) == whole


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=80), max_size=6), st.integers(1, 50))
def test_literals_round_trip_in_chunks_of_any_size(literals: list[bytes], size: int) -> None:
    """What is sent as literals arrives as the same octets."""
    wire = b"* X" + b"".join(b" {%d}\r\n%s" % (len(literal), literal) for literal in literals) + b" end\r\n"

    seen = responses([wire[at : at + size] for at in range(0, len(wire), size)])

    assert len(seen) == 1
    found = [piece.sink if isinstance(piece, SpooledLiteral) else piece for piece in seen[0][1::2]]
    assert found == literals


def test_limit_of_a_response_counts_each_response_anew() -> None:
    """Many responses with literals are no large response."""
    handler = Handler()
    tokenizer = Tokenizer(handler, Limits(response_max_bytes=500))

    for _ in range(10):
        tokenizer.feed(b"* LIST () NIL {3}\r\nabc\r\n")

    assert len(handler.seen) == 10


def test_time_grows_with_the_octets_and_no_faster() -> None:
    """A long line in small chunks is joined once: each octet is searched and copied a bounded number of times."""
    copied = 0

    class Chunk(bytes):
        def find(self, *arguments: object) -> int:
            nonlocal copied
            copied += len(self)
            return super().find(*arguments)

    tokenizer = Tokenizer(Handler(), LIMITS)
    tokenizer.trust()
    for _ in range(5000):
        tokenizer.feed(Chunk(b"x" * 100))

    assert copied == 500_000
