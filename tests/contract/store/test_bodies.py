"""Bodies: the same octets come out, each is kept once, and a big one never is in memory."""

import base64
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, func, insert, select, update

from syncd.errors import Reach, StoreError
from syncd.mail.message import BodyFacts, facts_of
from syncd.store.bodies import bodies
from syncd.store.bodies.encoding import CHUNK_BYTES, Codec, encode
from syncd.store.engine.database import Database
from syncd.store.tables.schema import body, body_chunk

HEADER = b"Message-ID: <1@example.org>\r\nSubject: letters\r\n\r\n"
SIZES = (0, 1, 1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES)


def octets(size: int, *, compressible: bool = True) -> bytes:
    """Return so many octets, the same for the same arguments."""
    if compressible:
        return (HEADER + b"All work and no play.\r\n" * (size // 20 + 1))[:size]
    return random.Random(size).randbytes(size)


def store(database: Database, *contents: bytes) -> tuple[int, ...]:
    """Put bodies into the store in one write."""
    encoded = [encode(facts_of([content]), [content]) for content in contents]
    try:
        return database.write_now(lambda conn: bodies.put_bodies(conn, encoded, now=1.0))
    finally:
        for one in encoded:
            one.close()


@pytest.mark.parametrize("compressible", [True, False])
def test_bodies_of_every_size_come_back_octet_for_octet(database: Database, compressible: bool) -> None:
    """Around every boundary of a chunk, compressed or not, by each way of reading."""
    contents = [octets(size, compressible=compressible) for size in SIZES]

    ids = store(database, *contents)

    whole = database.read_now(lambda conn: bodies.read_bodies(conn, ids))
    known = database.read_now(lambda conn: bodies.body_facts(conn, ids))
    for body_id, content in zip(ids, contents, strict=True):
        assert whole[body_id] == content
        assert b"".join(bodies.stream_body(database.read_now, body_id)) == content
        assert b"".join(bodies.stream_body(database.read_now, body_id)) == content
        assert known[body_id] == facts_of([content])


def test_a_body_is_compressed_only_where_that_saves_something() -> None:
    """Noise is kept plain, letters are not."""
    for content, codec in ((octets(5000), Codec.ZSTD), (octets(5000, compressible=False), Codec.PLAIN)):
        with encode(facts_of([content]), [content]) as encoded:
            assert encoded.codec is codec
            assert encoded.stored_bytes <= len(content)


def test_equal_bodies_are_kept_once(database: Database) -> None:
    """A body that is there, or that comes twice at once, is not written again."""
    (first,) = store(database, octets(2000))

    again, other, other_again = store(database, octets(2000), octets(3000), octets(3000))

    assert again == first
    assert other == other_again != first
    assert database.read_now(lambda conn: conn.execute(select(func.count()).select_from(body)).scalar()) == 2
    assert database.read_now(lambda conn: conn.execute(select(func.count()).select_from(body_chunk)).scalar()) == 2


def test_a_thousand_bodies_are_found_by_their_digests(database: Database) -> None:
    """More than fit into one statement keep their order and are all found."""
    contents = [octets(100 + n) for n in range(1200)]

    ids = store(database, *contents)

    digests = [facts_of([content]).digest for content in contents]
    found = database.read_now(lambda conn: bodies.body_ids(conn, [*digests, b"\0" * 32]))
    assert found == dict(zip(digests, ids, strict=True))
    whole = database.read_now(lambda conn: bodies.read_bodies(conn, ids))
    assert [whole[body_id] for body_id in ids] == contents


def test_a_write_of_bodies_can_run_again(database: Database) -> None:
    """A body whose transaction was rolled back by another write is whole when it is written again."""
    content = octets(2 * CHUNK_BYTES, compressible=False)

    with encode(facts_of([content]), [content]) as encoded:
        with pytest.raises(ZeroDivisionError):
            database.write_now(lambda conn: (bodies.put_body(conn, encoded, now=1.0), 1 / 0))
        body_id = database.write_now(lambda conn: bodies.put_body(conn, encoded, now=1.0))

    assert b"".join(bodies.stream_body(database.read_now, body_id)) == content


def test_a_big_body_is_never_in_memory(database: Database, tmp_path: Path) -> None:
    """20 MB go in and come out in a few megabytes of memory."""
    path = tmp_path / "big"
    noise = random.Random(20)
    with path.open("wb") as file:
        file.write(HEADER)
        for _ in range(20):
            file.write(base64.encodebytes(noise.randbytes(1024 * 768)).replace(b"\n", b"\r\n"))

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(65536):
                yield piece

    facts = facts_of(pieces())
    tracemalloc.start()
    try:
        with encode(facts, pieces(), spool_directory=tmp_path) as encoded:
            body_id = database.write_now(
                lambda conn: bodies.put_body(conn, encoded, now=1.0), weight_bytes=encoded.stored_bytes
            )
        out = facts_of(bodies.stream_body(database.read_now, body_id))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert facts.size_bytes > 20_000_000
    assert out == facts
    assert peak < 8 * CHUNK_BYTES
    assert [path] == [left for left in tmp_path.iterdir() if left.is_file()]


def test_octets_of_another_digest_are_refused(tmp_path: Path) -> None:
    """A spool file that was damaged on the way is not taken for the message."""
    facts = facts_of([octets(100)])
    with pytest.raises(StoreError) as raised:
        encode(facts, [octets(99)])
    assert raised.value.reach is Reach.MESSAGE


@pytest.mark.parametrize("size", [500, 2 * CHUNK_BYTES])
@pytest.mark.parametrize("damage", ["altered", "lost", "missing"])
def test_a_damaged_body_is_an_error(database: Database, size: int, damage: str) -> None:
    """What the disk or a hand changed is never given out as the whole message."""
    (body_id,) = store(database, octets(size, compressible=False))
    last = (body_chunk.c.body_id == body_id) & (body_chunk.c.seq == (size - 1) // CHUNK_BYTES)
    statements = {
        "altered": update(body_chunk).where(last).values(octets=b"other"),
        "lost": delete(body_chunk).where(last),
        "missing": delete(body).where(body.c.id == body_id),
    }
    database.write_now(lambda conn: conn.execute(statements[damage]) and None)

    (whole,) = store(database, octets(300))
    given: list[bytes] = []
    assert database.read_now(lambda conn: bodies.read_bodies(conn, [body_id, whole])) == {whole: octets(300)}
    with pytest.raises(StoreError, match=f"body {body_id} is "):
        given.extend(bodies.stream_body(database.read_now, body_id))
    assert len(b"".join(given)) < size


def test_a_body_of_compressed_junk_is_an_error(database: Database) -> None:
    """Octets that zstd cannot read are damage like any other."""
    facts = BodyFacts(b"\1" * 32, b"\2" * 32, None, 5, 5, is_crlf=True)
    values = {"digest": facts.digest, "header_digest": facts.header_digest, "size_bytes": 5, "lf_size_bytes": 5}
    values |= {"is_crlf": True, "codec": "zstd", "chunks": 1, "stored_at": 1.0}

    def write(conn):  # type: ignore[no-untyped-def]  # the tests of types are elsewhere
        made = conn.execute(insert(body).values(values)).inserted_primary_key[0]
        conn.execute(insert(body_chunk).values(body_id=made, seq=0, octets=b"no zstd"))
        return made

    body_id = database.write_now(write)

    assert database.read_now(lambda conn: bodies.read_bodies(conn, [body_id])) == {}
    with pytest.raises(StoreError, match="damaged"):
        list(bodies.stream_body(database.read_now, body_id))
