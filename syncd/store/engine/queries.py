"""Floor 3: many rows at once: by their keys, and packed into one value on the way from and to SQLite.

Theory. The driver of SQLite gives up the interpreter lock for every row that it reads or writes, and waits for it
again while other threads work: a thousand rows then take as long as a thousand turns. Packed into one JSON text they
take one, and the database packs and unpacks without the lock. PostgreSQL's driver has no such habit.

To put a statement together takes SQLAlchemy several times as long as to run it. So what every batch of a round asks is
put together once: a function under `cache`, with parameters for its values, and conditions that each dialect compiles.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, Self, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    FromClause,
    Insert,
    Integer,
    LargeBinary,
    Row,
    Select,
    Table,
    TableValuedAlias,
    Text,
    Update,
    bindparam,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import ARRAY, TypeDecorator, TypeEngine

T = TypeVar("T")

PER_VERSION = 1000
"""How many rows get one version where many change at once: a round reads all rows of a version together."""
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


class _Ids(TypeDecorator[Iterable[Any]]):
    """Any number of ids as one parameter, so that the statement stays the same."""

    impl = Text
    cache_ok = True
    element: type[TypeEngine[Any]] = BigInteger

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(self.element))

    def process_bind_param(self, value: Iterable[Any] | None, dialect: Dialect) -> Any:
        ids = list(value or ())
        return _as_json(ids) if dialect.name == "sqlite" else ids


class _Keys(_Ids):
    """Any number of texts without NUL as one parameter."""

    cache_ok = True
    element = Text


def shared_alias(table: Table, name: str) -> FromClause:
    """Return an alias of a table that several threads may put into statements.

    NOTE: SQLAlchemy makes the columns of an alias when they are first asked for. Two threads that ask at one moment get
    two sets of them, and a statement in which both meet cannot be put together. So they are made here.
    """
    made = table.alias(name)
    tuple(made.c)
    return made


class _IsIn(FunctionElement[bool]):
    """The condition that a column is one of the values in a parameter; each database has its own words for that."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: OperatorType | None = None) -> Self:
        return self  # else SQLite compares it with 1, and uses no index


class _Hexadecimal(FunctionElement[str]):
    name = "hexadecimal"
    type = Text()
    inherit_cache = True


def is_one_of(column: ColumnElement[int], ids: Iterable[int]) -> ColumnElement[bool]:
    """Return the condition that `column` is one of any number of ids."""
    return _IsIn(column, literal(list(ids), _Ids))


def is_listed(column: ColumnElement[int], name: str) -> ColumnElement[bool]:
    """Return the condition that `column` is one of the ids that the parameter called `name` then lists."""
    return _IsIn(column, bindparam(name, type_=_Ids))


def has_key(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Return the condition that `column` is one of the texts that the parameter called `name` then lists."""
    return _IsIn(column, bindparam(name, type_=_Keys))


def hexadecimal(column: ColumnElement[bytes]) -> ColumnElement[str]:
    """Return octets as hexadecimal digits, which rows that are read at once can have."""
    return _Hexadecimal(column)


class AtOnce:
    """A query of columns that hold no octets and no times, and whose rows are read all at once.

    NOTE: SQLite writes a Double in JSON with 15 digits.
    """

    def __init__(self, query: Select[Any]) -> None:
        self._query = query
        self._columns = tuple(query.subquery().c)
        self._packed = select(func.json_group_array(func.json_array(*self._columns)))

    def rows(self, conn: Connection, **parameters: Any) -> Sequence[Sequence[Any]]:
        """Return all rows; their order need not be the query's."""
        if conn.dialect.name != "sqlite":
            return conn.execute(self._query, parameters).all()
        rows: list[list[Any]] = msgspec.json.decode(conn.execute(self._packed, parameters).scalar_one())
        for position, column in enumerate(self._columns):
            process = column.type.dialect_impl(conn.dialect).result_processor(conn.dialect, None)
            if process is not None:
                for row in rows:
                    if row[position] is not None:
                        row[position] = process(row[position])
        return rows


def insert_at_once(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], **shared: Any) -> None:
    """Insert rows that all have the same columns, and `shared` ones with the same values; no text may hold NUL."""
    if not rows:
        return
    if conn.dialect.name != "sqlite":
        conn.execute(insert(table), [{**row, **shared} for row in rows])
        return
    names = tuple(rows[0])
    packed, octets = _packed(conn, [table.c[name] for name in names], ([row[name] for name in names] for row in rows))
    parameters = {_ROWS.key: packed, _OCTETS.key: octets, **{f"new_{name}": value for name, value in shared.items()}}
    conn.execute(_insertion(table, names, tuple(shared)), parameters)


def update_at_once(conn: Connection, table: Table, rows: Mapping[int, Mapping[str, Any]], **shared: Any) -> None:
    """Set the same columns of rows, by their ids, and `shared` ones to one value for all; no text may hold NUL."""
    if not rows:
        return
    names = tuple(next(iter(rows.values())))
    if conn.dialect.name != "sqlite":
        by_id = update(table).where(table.c.id == bindparam("row_id"))
        statement = by_id.values({name: bindparam(f"new_{name}") for name in names} | shared)
        conn.execute(
            statement, [{"row_id": id_, **{f"new_{name}": row[name] for name in names}} for id_, row in rows.items()]
        )
        return
    columns = [table.c[name] for name in ("id", *names)]
    packed, octets = _packed(conn, columns, ([id_, *(row[name] for name in names)] for id_, row in rows.items()))
    parameters = {_ROWS.key: packed, _OCTETS.key: octets, **{f"new_{name}": value for name, value in shared.items()}}
    conn.execute(_alteration(table, names, tuple(shared)), parameters)


@compiles(_IsIn)
def _is_any(element: _IsIn, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(one, **options) for one in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(_IsIn, "sqlite")
def _is_in(element: _IsIn, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(one, **options) for one in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - parts that SQLAlchemy made


@compiles(_Hexadecimal)
def _encode(element: _Hexadecimal, compiler: SQLCompiler, **options: Any) -> str:
    return f"encode({compiler.process(element.clauses, **options)}, 'hex')"


@compiles(_Hexadecimal, "sqlite")
def _hex(element: _Hexadecimal, compiler: SQLCompiler, **options: Any) -> str:
    return f"hex({compiler.process(element.clauses, **options)})"


@cache
def _insertion(table: Table, names: tuple[str, ...], shared: tuple[str, ...]) -> Insert:
    # NOTE: to find one value in a row SQLite reads the text of the whole row.
    unpacked = [_unpacked(table.c[name], position) for position, name in enumerate(names)]
    of_all = [bindparam(f"new_{name}", type_=table.c[name].type) for name in shared]
    return insert(table).from_select((*names, *shared), select(*unpacked, *of_all).select_from(_listed()))


@cache
def _alteration(table: Table, names: tuple[str, ...], shared: tuple[str, ...]) -> Update:
    values = {name: _unpacked(table.c[name], position) for position, name in enumerate(names, 1)}
    to_all = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in shared}
    id_ = func.json_extract(_listed().c.value, "$[0]", type_=Integer)
    return update(table).values({**values, **to_all}).where(table.c.id == id_)


def _listed() -> TableValuedAlias:
    return func.json_each(_ROWS).table_valued("value", name="listed")


def _packed(conn: Connection, columns: Sequence[Column[Any]], rows: Iterable[list[Any]]) -> tuple[str, bytes]:
    """Return rows as JSON, and beside it all their octets in one value, for which the JSON has places in it."""
    packed = list(rows)
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
    return _as_json(packed), b"".join(pieces)


def _as_json(values: Sequence[Any]) -> str:
    """Return values as one text; a number that is none (NaN, infinity) would be null, but no column has such ones."""
    return msgspec.json.encode(values).decode()


def _unpacked(column: Column[Any], position: int) -> ColumnElement[Any]:
    if not isinstance(column.type, LargeBinary):
        return literal_column(f"json_extract(listed.value, '$[{position}]')")
    place: list[ColumnElement[int]] = [
        literal_column(f"json_extract(listed.value, '$[{position}][{part}]')", Integer) for part in (0, 1)
    ]
    return func.substr(_OCTETS, *place)
