"""Floor 3: bodies of messages in the store, by the digest of their octets; `encoding` says in which form.

Octets are compared with their digest when they are read: a damaged body is an error, never a delivered message.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Protocol, TypeVar

from backports import zstd
from sqlalchemy import Connection, Row, bindparam, insert, select

from syncd.errors import Reach, StoreError, Temper
from syncd.mail.message import BodyFacts
from syncd.store.bodies.encoding import Codec, EncodedBody
from syncd.store.engine.queries import AtOnce, groups, hexadecimal, insert_at_once, is_one_of
from syncd.store.tables.schema import body, body_chunk

T = TypeVar("T")


class Read(Protocol):
    """Run a function on a connection that only reads: `Database.read_now` is one."""

    def __call__(self, function: Callable[[Connection], T], /) -> T: ...


def put_bodies(conn: Connection, bodies: Sequence[EncodedBody], *, now: float) -> tuple[int, ...]:
    """Insert the bodies that the store does not have; return the id of each, in their order."""
    known = body_ids(conn, (encoded.facts.digest for encoded in bodies))
    new = {encoded.facts.digest: encoded for encoded in bodies if encoded.facts.digest not in known}
    if new:
        insert_at_once(conn, body, [_body_values(encoded) for encoded in new.values()], stored_at=now)
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
        rows = _ids().rows(conn, digests=group)
        found |= {bytes.fromhex(digest): body_id for digest, body_id in rows}
    return found


def body_facts(conn: Connection, ids: Iterable[int]) -> dict[int, BodyFacts]:
    """Return what is known of bodies, by id."""
    return {row.id: _facts(row) for row in conn.execute(select(body).where(is_one_of(body.c.id, set(ids))))}


def read_bodies(conn: Connection, ids: Iterable[int]) -> dict[int, bytes]:
    """Return whole bodies by id: for small ones. What is damaged or not there is left out: `stream_body` says why."""
    wanted = set(ids)
    about = select(body.c.id, body.c.digest, body.c.codec).where(is_one_of(body.c.id, wanted))
    rows = {row.id: row for row in conn.execute(about)}
    chunks: dict[int, list[bytes]] = {body_id: [] for body_id in wanted}
    query = select(body_chunk.c.body_id, body_chunk.c.octets).where(is_one_of(body_chunk.c.body_id, wanted))
    for body_id, octets in conn.execute(query.order_by(body_chunk.c.body_id, body_chunk.c.seq)):
        chunks[body_id].append(octets)
    found: dict[int, bytes] = {}
    for body_id in wanted:
        with suppress(StoreError):
            found[body_id] = b"".join(_decode(body_id, rows.get(body_id), chunks[body_id]))
    return found


def read_begin(conn: Connection, body_id: int) -> bytes:
    """Return the first octets of a body, a MiB at most, unproved: for a person to see its header.

    StoreError if it is not there.
    """
    row = conn.execute(select(body.c.codec).where(body.c.id == body_id)).one_or_none()
    if row is None:
        raise StoreError(f"body {body_id} is not in the store", reach=Reach.MESSAGE)
    return _decoded(body_id, row.codec, _chunk_reader(body_id, 0)(conn))


def stream_body(read: Read, body_id: int) -> Iterator[bytes]:
    """Yield a body in pieces of at most 1 MiB, each by a `read` of its own: no transaction is open between two.

    StoreError if it is not there or damaged, then the last piece is never yielded.
    """
    row = read(lambda conn: conn.execute(select(body).where(body.c.id == body_id)).one_or_none())
    count = 0 if row is None else int(row.chunks)
    yield from _decode(body_id, row, (read(_chunk_reader(body_id, seq)) for seq in range(count)))


@cache
def _ids() -> AtOnce:
    is_wanted = body.c.digest.in_(bindparam("digests", expanding=True))
    return AtOnce(select(hexadecimal(body.c.digest), body.c.id).where(is_wanted))


def _body_values(encoded: EncodedBody) -> dict[str, Any]:
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
