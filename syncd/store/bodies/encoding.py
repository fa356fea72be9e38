"""Floor 3: bodies as the store keeps them: in chunks of 1 MiB, compressed where that saves something.

Theory. A body is encoded before its transaction, by any thread or process: compressing is most of the work, and the
one writer should only insert. Each chunk is a zstd frame of its own, or all are plain where zstd would save nothing, so
a body of any size is written and read with one chunk in memory. What was encoded waits in memory up to 1 MiB, else in
an unnamed temporary file, and can be inserted more than once, as a write may run more than once. Octets that lay on a
disk are compared with their digest on the way.
"""

import hashlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from backports import zstd

from syncd.errors import Reach, StoreError
from syncd.mail.message import BodyFacts, BodyReader, facts_of

CHUNK_BYTES = 1024 * 1024
_LEVEL = 1  # mail takes 2 % more room than at 3, and an encoder that others wait for a twentieth less time
_COMPRESSOR = zstd.ZstdCompressor(_LEVEL)
"""One for all chunks, each of which is a frame of its own: a new one costs a tenth of the compression."""
_WORTH = 0.97  # plain unless zstd saves at least 3 %


class Codec(StrEnum):
    """How the chunks of a body, joined, give its octets."""

    PLAIN = "plain"
    ZSTD = "zstd"


class EncodedBody:
    """A body as its rows will hold it, ready for `put_bodies`; close it when it is committed."""

    def __init__(
        self,
        facts: BodyFacts,
        codec: Codec,
        lengths: tuple[int, ...],
        octets: bytes | memoryview | IO[bytes],
        *,
        for_file: bytes | memoryview | None = None,
    ) -> None:
        """Take the joined chunks: octets of one chunk, or a file, which is then owned.

        for_file: what a Maildir file of the body has, where who encodes is asked for that, too.
        """
        self.facts = facts
        self.codec = codec
        self._lengths = lengths
        self._octets = octets
        self.for_file = for_file

    @property
    def stored_bytes(self) -> int:
        """Return what the chunks take in the store: the `weight_bytes` of writing them."""
        return sum(self._lengths)

    @property
    def count(self) -> int:
        """Return the number of chunks."""
        return len(self._lengths)

    def chunks(self) -> Iterator[bytes | memoryview]:
        """Yield the chunks, from the first one each time this is called."""
        if isinstance(self._octets, bytes | memoryview):
            if self._lengths:
                yield self._octets
            return
        self._octets.seek(0)
        for length in self._lengths:
            yield self._octets.read(length)

    def close(self) -> None:
        if not isinstance(self._octets, bytes | memoryview):
            self._octets.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def encode(facts: BodyFacts, pieces: Iterable[bytes], *, spool_directory: Path | None = None) -> EncodedBody:
    """Return a body ready to be inserted; `pieces` is read once, in constant memory.

    spool_directory: where more than 1 MiB waits, the system's temporary directory by default. StoreError if the
    pieces are not the octets that `facts` describe. For any thread; compressing leaves the others running.
    """
    directory = None if spool_directory is None else str(spool_directory)
    is_small = facts.size_bytes <= CHUNK_BYTES
    octets: IO[bytes] = io.BytesIO() if is_small else tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - the body closes it
    try:
        return _encode(facts, pieces, octets)
    except BaseException:
        octets.close()
        raise


def encode_octets(octets: bytes) -> EncodedBody:
    """Return a body of at most 1 MiB ready to be inserted, with the facts of these very octets."""
    return _encoded(octets, facts_of((octets,)))


def encode_for_file(octets: bytes) -> EncodedBody:
    """Return the same with what a Maildir file of the body has."""
    reader = BodyReader()
    lf_octets = reader.feed_to_lf(octets)
    body = _encoded(octets, reader.facts())
    body.for_file = lf_octets if body.facts.is_crlf else octets
    return body


def _encoded(octets: bytes, facts: BodyFacts) -> EncodedBody:
    codec, coded = _coded(octets)
    return EncodedBody(facts, codec, (len(coded),) if octets else (), coded)


def _encode(facts: BodyFacts, pieces: Iterable[bytes], octets: IO[bytes]) -> EncodedBody:
    digest = hashlib.sha256()
    codec: Codec | None = None
    lengths: list[int] = []
    for chunk in _chunks(pieces):
        digest.update(chunk)
        codec, coded = _coded(chunk, codec)
        octets.write(coded)
        lengths.append(len(coded))
    if digest.digest() != facts.digest:
        raise StoreError("the octets of a body are not those its digest was taken of", reach=Reach.MESSAGE)
    return EncodedBody(facts, codec or Codec.PLAIN, tuple(lengths), octets)


def _coded(chunk: bytes, codec: Codec | None = None) -> tuple[Codec, bytes]:
    """Return the chunk in its body's codec; the first chunk decides on it."""
    coded = chunk if codec is Codec.PLAIN else _COMPRESSOR.compress(chunk, _COMPRESSOR.FLUSH_FRAME)
    if codec is None:
        codec = Codec.ZSTD if len(coded) < len(chunk) * _WORTH else Codec.PLAIN
    return codec, chunk if codec is Codec.PLAIN else coded


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            joined = b"".join(held)
            rest = size - size % CHUNK_BYTES
            for start in range(0, rest, CHUNK_BYTES):
                yield joined[start : start + CHUNK_BYTES]
            held = [joined[rest:]]
            size -= rest
    if size:
        yield b"".join(held)
