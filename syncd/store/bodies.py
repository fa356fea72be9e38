"""Floor 3: bodies of messages in the store, by the digest of their octets, compressed, in chunks of 1 MiB.

Theory. A body is encoded before its transaction, in any thread: compressing is most of the work, and the one writer
should only insert. Each chunk is a zstd frame of its own, or all are plain where zstd would save nothing, so a body
of any size is written and read with one chunk in memory. What was encoded waits in memory up to 1 MiB, else in an
unnamed temporary file, and can be inserted more than once, as a write may run more than once. Octets that lay on a
disk are compared with their digest on the way in, and all are on the way out: a damaged body is an error, never a
delivered message.
"""

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self, TypeVar

from backports import zstd
from sqlalchemy import Connection, Row, insert, select

from syncd.errors import Reach, StoreError, Temper
from syncd.mail.message import BodyFacts, facts_of
from syncd.store.queries import groups, hexadecimal, insert_at_once, is_one_of, rows_at_once
from syncd.store.schema import body, body_chunk

T = TypeVar("T")

CHUNK_BYTES = 1024 * 1024
_LEVEL = 3
_WORTH = 0.97  # plain unless zstd saves at least 3 %


class Codec(StrEnum):
    """How the chunks of a body, joined, give its octets."""

    PLAIN = "plain"
    ZSTD = "zstd"


class EncodedBody:
    """A body as its rows will hold it, ready for `put_bodies`; close it when it is committed."""

    def __init__(self, facts: BodyFacts, codec: Codec, lengths: tuple[int, ...], octets: bytes | IO[bytes]) -> None:
        """Take the joined chunks: octets of one chunk, or a file, which is then owned."""
        self.facts = facts
        self.codec = codec
        self._lengths = lengths
        self._octets = octets

    @property
    def stored_bytes(self) -> int:
        """Return what the chunks take in the store: the `weight_bytes` of writing them."""
        return sum(self._lengths)

    @property
    def count(self) -> int:
        """Return the number of chunks."""
        return len(self._lengths)

    def chunks(self) -> Iterator[bytes]:
        """Yield the chunks, from the first one each time this is called."""
        if isinstance(self._octets, bytes):
            yield from (self._octets,) if self._lengths else ()
            return
        self._octets.seek(0)
        for length in self._lengths:
            yield self._octets.read(length)

    def close(self) -> None:
        if not isinstance(self._octets, bytes):
            self._octets.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Read(Protocol):
    """Run a function on a connection that only reads: `Database.read_now` is one."""

    def __call__(self, function: Callable[[Connection], T], /) -> T: ...


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
    facts = facts_of((octets,))
    codec, coded = _coded(octets)
    return EncodedBody(facts, codec, (len(coded),) if octets else (), coded)


def put_bodies(conn: Connection, bodies: Sequence[EncodedBody], *, now: float) -> tuple[int, ...]:
    """Insert the bodies that the store does not have; return the id of each, in their order."""
    known = body_ids(conn, (encoded.facts.digest for encoded in bodies))
    new = {encoded.facts.digest: encoded for encoded in bodies if encoded.facts.digest not in known}
    if new:
        insert_at_once(conn, body, [_body_values(encoded, now) for encoded in new.values()])
        added = body_ids(conn, new)
        _insert_chunks(conn, {added[digest]: encoded for digest, encoded in new.items()})
        known |= added
    return tuple(known[encoded.facts.digest] for encoded in bodies)


def put_body(conn: Connection, encoded: EncodedBody, *, now: float) -> int:
    """Insert a body unless the store has it; return its id."""
    return put_bodies(conn, [encoded], now=now)[0]


def body_ids(conn: Connection, digests: Iterable[bytes]) -> dict[bytes, int]:
    """Return the ids of those bodies that the store has, by digest."""
    found: dict[bytes, int] = {}
    for group in groups(set(digests)):
        query = select(hexadecimal(conn, body.c.digest), body.c.id).where(body.c.digest.in_(group))
        found |= {bytes.fromhex(digest): body_id for digest, body_id in rows_at_once(conn, query)}
    return found


def body_facts(conn: Connection, ids: Iterable[int]) -> dict[int, BodyFacts]:
    """Return what is known of bodies, by id."""
    return {row.id: _facts(row) for row in conn.execute(select(body).where(is_one_of(conn, body.c.id, set(ids))))}


def read_bodies(conn: Connection, ids: Iterable[int]) -> dict[int, bytes]:
    """Return whole bodies by id: for small ones. StoreError if one is damaged or not there."""
    wanted = set(ids)
    about = select(body.c.id, body.c.digest, body.c.codec).where(is_one_of(conn, body.c.id, wanted))
    rows = {row.id: row for row in conn.execute(about)}
    chunks: dict[int, list[bytes]] = {body_id: [] for body_id in wanted}
    query = select(body_chunk.c.body_id, body_chunk.c.octets).where(is_one_of(conn, body_chunk.c.body_id, wanted))
    for body_id, octets in conn.execute(query.order_by(body_chunk.c.body_id, body_chunk.c.seq)):
        chunks[body_id].append(octets)
    return {body_id: b"".join(_decode(body_id, rows.get(body_id), chunks[body_id])) for body_id in wanted}


def read_body(conn: Connection, body_id: int) -> Iterator[bytes]:
    """Yield a body in pieces of at most 1 MiB.

    StoreError if it is not there or damaged, then the last piece is never yielded.
    """

    def read(function: Callable[[Connection], T], /) -> T:
        return function(conn)

    return stream_body(read, body_id)


def stream_body(read: Read, body_id: int) -> Iterator[bytes]:
    """Yield a body like `read_body`, each piece by a `read` of its own: no transaction is open between two pieces."""
    row = read(lambda conn: conn.execute(select(body).where(body.c.id == body_id)).one_or_none())
    count = 0 if row is None else int(row.chunks)
    yield from _decode(body_id, row, (read(_chunk_reader(body_id, seq)) for seq in range(count)))


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
    coded = chunk if codec is Codec.PLAIN else zstd.compress(chunk, _LEVEL)
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


def _body_values(encoded: EncodedBody, now: float) -> dict[str, Any]:
    facts = encoded.facts
    return {
        "digest": facts.digest,
        "header_digest": facts.header_digest,
        "message_id": facts.message_id,
        "size_bytes": facts.size_bytes,
        "lf_size_bytes": facts.lf_size_bytes,
        "is_crlf": facts.is_crlf,
        "codec": encoded.codec.value,
        "chunks": encoded.count,
        "stored_at": now,
    }


def _insert_chunks(conn: Connection, bodies: Mapping[int, EncodedBody]) -> None:
    small: list[dict[str, Any]] = []
    for body_id, encoded in bodies.items():
        rows = ({"body_id": body_id, "seq": seq, "octets": chunk} for seq, chunk in enumerate(encoded.chunks()))
        if encoded.count == 1:
            small.extend(rows)
            continue
        for row in rows:
            conn.execute(insert(body_chunk), row)
    if small:
        insert_at_once(conn, body_chunk, small)


def _chunk_reader(body_id: int, seq: int) -> Callable[[Connection], bytes | None]:
    query = select(body_chunk.c.octets).where(body_chunk.c.body_id == body_id, body_chunk.c.seq == seq)
    return lambda conn: conn.execute(query).scalar_one_or_none()


def _decode(body_id: int, row: Any | None, chunks: Iterable[bytes | None]) -> Iterator[bytes]:
    """Yield the octets of each chunk, the last one only after all are found to be those of the row's digest."""
    if row is None:
        raise StoreError(f"body {body_id} is not in the store", reach=Reach.MESSAGE)
    digest = hashlib.sha256()
    held: bytes | None = None
    for chunk in chunks:
        if held is not None:
            yield held
        held = _decoded(body_id, row.codec, chunk)
        digest.update(held)
    if digest.digest() != row.digest:
        raise _damaged(body_id)
    if held is not None:
        yield held


def _decoded(body_id: int, codec: str, chunk: bytes | None) -> bytes:
    if chunk is None:
        raise _damaged(body_id)
    try:
        return zstd.decompress(chunk) if codec == Codec.ZSTD else chunk
    except zstd.ZstdError as error:
        raise _damaged(body_id) from error


def _damaged(body_id: int) -> StoreError:
    return StoreError(f"body {body_id} is damaged in the store", reach=Reach.MESSAGE, temper=Temper.GIVE_UP)


def _facts(row: Row[Any]) -> BodyFacts:
    return BodyFacts(
        digest=row.digest,
        header_digest=row.header_digest,
        message_id=row.message_id,
        size_bytes=row.size_bytes,
        lf_size_bytes=row.lf_size_bytes,
        is_crlf=row.is_crlf,
    )
