"""Floor 3: many rows at once: by their keys, and packed into one value on the way from and to SQLite.

Theory. The driver of SQLite gives up the interpreter lock for every row that it reads or writes, and waits for it
again while other threads work: a thousand rows then take as long as a thousand turns. Packed into one JSON text they
take one, and the database packs and unpacks without the lock. PostgreSQL's driver has no such habit.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    Row,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.types import ARRAY

T = TypeVar("T")

_IN_MAX = 500
_ROWS = bindparam("packed_rows", type_=Text)
_OCTETS = bindparam("packed_octets", type_=LargeBinary)


def groups(values: Iterable[T], size: int = _IN_MAX) -> Iterator[tuple[T, ...]]:
    """Yield the values in tuples of at most `size`."""
    rest = iter(values)
    while group := tuple(islice(rest, size)):
        yield group


def rows_in(
    conn: Connection, query: Select[Any], column: ColumnElement[Any], values: Iterable[Any]
) -> Iterator[Row[Any]]:
    """Yield the rows of `query` whose `column` is one of `values`, in statements that a database takes."""
    for group in groups(values):
        yield from conn.execute(query.where(column.in_(group)))


def is_one_of(conn: Connection, column: ColumnElement[int], ids: Iterable[int]) -> ColumnElement[bool]:
    """Return the condition that `column` is one of any number of ids.

    They are one parameter, so that the statement stays the same and costs its compilation once.
    """
    if conn.dialect.name == "sqlite":
        listed = func.json_each(json.dumps(list(ids))).table_valued("value")
        return column.in_(select(listed.c.value))
    return column == any_(literal(list(ids), ARRAY(BigInteger)))


def rows_at_once(conn: Connection, query: Select[Any]) -> Sequence[Sequence[Any]]:
    """Return all rows of a query, of columns that hold no octets and no times; their order need not be the query's.

    NOTE: SQLite writes a Double in JSON with 15 digits.
    """
    if conn.dialect.name != "sqlite":
        return conn.execute(query).all()
    columns = query.subquery().c
    packed = conn.execute(select(func.json_group_array(func.json_array(*columns)))).scalar_one()
    rows: list[list[Any]] = json.loads(packed)
    for position, column in enumerate(columns):
        process = column.type.dialect_impl(conn.dialect).result_processor(conn.dialect, None)
        if process is not None:
            for row in rows:
                row[position] = process(row[position])
    return rows


def insert_at_once(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns; no text of theirs may hold NUL."""
    if not rows:
        return
    if conn.dialect.name != "sqlite":
        conn.execute(insert(table), rows)
        return
    names = tuple(rows[0])
    columns = [table.c[name] for name in names]
    packed, octets = _packed(conn, columns, ([row[name] for name in names] for row in rows))
    values = func.json_each(_ROWS).table_valued("value")
    unpacked = [_unpacked(column, position) for position, column in enumerate(columns)]
    statement = insert(table).from_select(names, select(*unpacked).select_from(values))
    # NOTE: by name, for a statement that is kept compiled keeps the values that it was made with.
    conn.execute(statement, {_ROWS.key: packed, _OCTETS.key: octets})


def update_at_once(
    conn: Connection, table: Table, column: Column[Any], values: Mapping[int, int], **others: Any
) -> None:
    """Set an integer column of rows by their ids, and the `others` of all of them to one value each."""
    if not values:
        return
    if conn.dialect.name != "sqlite":
        by_id = update(table).where(table.c.id == bindparam("row_id")).values({column.name: bindparam("new"), **others})
        conn.execute(by_id, [{"row_id": id_, "new": value} for id_, value in values.items()])
        return
    listed = func.json_each(_ROWS).table_valued("value", name="listed")
    id_, value = (func.json_extract(listed.c.value, f"$[{position}]", type_=Integer) for position in (0, 1))
    statement = update(table).values({column.name: value, **others}).where(table.c.id == id_)
    conn.execute(statement, {_ROWS.key: json.dumps(list(values.items()))})


def hexadecimal(conn: Connection, column: ColumnElement[bytes]) -> ColumnElement[str]:
    """Return octets as hexadecimal digits, which `rows_at_once` can carry."""
    return func.hex(column) if conn.dialect.name == "sqlite" else func.encode(column, "hex")


def _packed(conn: Connection, columns: Sequence[Column[Any]], rows: Iterable[Iterable[Any]]) -> tuple[str, bytes]:
    """Return rows as JSON, and beside it all their octets in one value, for which the JSON has places in it."""
    packed = [list(row) for row in rows]
    pieces: list[bytes] = [b"\0"]  # a part of nothing would be NULL
    size_bytes = 1
    for position, column in enumerate(columns):
        process = column.type.dialect_impl(conn.dialect).bind_processor(conn.dialect)
        if isinstance(column.type, LargeBinary):
            for row in packed:
                octets: bytes | None = row[position]
                if octets is not None:
                    row[position] = (size_bytes + 1, len(octets))
                    pieces.append(octets)
                    size_bytes += len(octets)
        elif process is not None:
            for row in packed:
                row[position] = process(row[position])
    return json.dumps(packed), b"".join(pieces)


def _unpacked(column: Column[Any], position: int) -> ColumnElement[Any]:
    if not isinstance(column.type, LargeBinary):
        return literal_column(f"json_extract(value, '$[{position}]')")
    place: list[ColumnElement[int]] = [
        literal_column(f"json_extract(value, '$[{position}][{part}]')", Integer) for part in (0, 1)
    ]
    return func.substr(_OCTETS, *place)
