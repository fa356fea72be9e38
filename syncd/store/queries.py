"""Floor 3: queries whose lists are longer than a database takes in one statement."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select

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
    """Yield the rows of `query` whose `column` is one of `values`."""
    for group in groups(values):
        yield from conn.execute(query.where(column.in_(group)))
