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
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    any_,
    func,
    insert,
    literal,
    literal_column,
    select,
)
from sqlalchemy.types import ARRAY

T = TypeVar("T")

_IN_MAX = 500


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
    """Return all rows of a query, of columns that hold no octets; their order need not be the query's."""
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
    """Insert rows that all have the same columns, none of which holds octets."""
    if conn.dialect.name != "sqlite":
        conn.execute(insert(table), rows)
        return
    names = tuple(rows[0])
    unpacked: list[ColumnElement[Any]] = [
        literal_column(f"json_extract(value, '$[{position}]')") for position in range(len(names))
    ]
    processors = [table.c[name].type.dialect_impl(conn.dialect).bind_processor(conn.dialect) for name in names]
    packed = [
        [value if process is None else process(value) for process, value in zip(processors, row.values(), strict=True)]
        for row in rows
    ]
    listed = func.json_each(json.dumps(packed)).table_valued("value")
    conn.execute(insert(table).from_select(names, select(*unpacked).select_from(listed)))
