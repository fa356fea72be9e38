"""Many rows at once: whatever a column can hold comes back as it was, on every database."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pytest
from sqlalchemy import (
    Alias,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    LargeBinary,
    MetaData,
    Table,
    Text,
    event,
    select,
)

from syncd import store
from syncd.store.engine.database import Database
from syncd.store.engine.queries import AtOnce, hexadecimal, insert_at_once, is_one_of, update_at_once
from syncd.store.tables.columns import FileName, Id, Octets

T = TypeVar("T")

LARGE = 2**62
NO_UTF8 = "caf\udce9,S=1:2,S"
TEXTS = (
    "",
    "plain",
    "Grüße, 日本語, \N{SLIGHTLY SMILING FACE}",
    'it\'s "quoted" and \\escaped\\ \\u0041',
    "$[0] :name %s ?",
    "tab\tline\nreturn\r\x01\x7f",
    "null",
    "[1, 2]",
    "\u2028\ufeff\ufffd",
)
FILE_NAMES = ("plain", "", "Grüße", NO_UTF8, "\udcff\udc80", "\N{SLIGHTLY SMILING FACE}\udcff", 'it\'s "odd"\\')
OCTETS = (b"", b"a", b"\0", b"\0\0\0", bytes(range(256)), b"'\"\\", "ü".encode(), b"\xff" * 70_000, b"end")
NUMBERS = (0, 1, -1, LARGE, -LARGE, 2**63 - 1, -(2**63), 2**53 + 1)
TIMES = (0.0, 0.1, 1_764_089_343.123456789, 1e-300, -2.5, 2.0**52 + 0.5)

sample = Table(
    "queries_sample",
    MetaData(),
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("number", BigInteger),
    Column("text", Text),
    Column("name", FileName),
    Column("wire", Octets),
    Column("octets", LargeBinary),
    Column("more", LargeBinary),
    Column("flag", Boolean),
    Column("at", Double),
)


class Samples:
    """A table with a column of each kind, in a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, function: Callable[[Connection], T]) -> T:
        return self._database.write_now(function)

    def insert(self, *rows: Mapping[str, Any]) -> None:
        self(lambda conn: insert_at_once(conn, sample, rows))

    def column(self, name: str) -> list[Any]:
        """Return the values of a column in the order of their ids, read in the plain way."""
        query = select(sample.c[name]).order_by(sample.c.id)
        return self(lambda conn: list(conn.execute(query).scalars()))

    def at_once(self, *columns: Any) -> list[tuple[Any, ...]]:
        query = select(*columns)
        return self(lambda conn: [tuple(row) for row in AtOnce(query).rows(conn)])


@pytest.fixture
def samples(database: Database) -> Iterator[Samples]:
    """Yield the table, empty."""
    made = Samples(database)
    made(sample.create)
    yield made
    made(sample.drop)


# Inserting.


@pytest.mark.parametrize(
    ("column", "values"),
    [
        pytest.param("number", (*NUMBERS, None), id="numbers"),
        pytest.param("text", (*TEXTS, None), id="texts"),
        pytest.param("name", (*FILE_NAMES, None), id="file-names"),
        pytest.param("wire", (b"", b"ascii", b"\x80\xff", b"'\"\\", None), id="octets-kept-as-text"),
        pytest.param("octets", (None, *OCTETS, None, b""), id="octets"),
        pytest.param("flag", (True, False, None), id="booleans"),
        pytest.param("at", (*TIMES, None), id="times"),
    ],
)
def test_values_inserted_at_once_are_kept_as_they_are(samples: Samples, column: str, values: Sequence[Any]) -> None:
    """What is packed on its way into the store is unpacked to the same values, whatever they hold."""
    samples.insert(*({"id": id_, column: value} for id_, value in enumerate(values, start=1)))

    assert list(values) == samples.column(column)


def test_two_columns_of_octets_are_not_mixed_up(samples: Samples) -> None:
    """Each octet column of each row gets its own part of what travels together."""
    rows: list[dict[str, Any]] = [
        {"id": 1, "octets": b"one", "more": b"1" * 300},
        {"id": 2, "octets": None, "more": b"two"},
        {"id": 3, "octets": b"", "more": None},
        {"id": 4, "octets": b"four\0", "more": b""},
    ]

    samples.insert(*rows)

    assert [row["octets"] for row in rows] == samples.column("octets")
    assert [row["more"] for row in rows] == samples.column("more")


def test_octets_of_nothing_only_are_empty_and_not_null(samples: Samples) -> None:
    """A batch in which no octet travels at all still tells empty from none."""
    samples.insert({"id": 1, "octets": b""}, {"id": 2, "octets": None})

    assert samples.column("octets") == [b"", None]


def test_rows_with_their_keys_in_another_order_are_inserted_by_name(samples: Samples) -> None:
    """The order of a row's keys means nothing."""
    samples.insert(
        {"id": 1, "text": "a", "name": "b", "octets": b"c"}, {"octets": b"z", "name": "y", "text": "x", "id": 2}
    )

    assert samples.column("text") == ["a", "x"]
    assert samples.column("name") == ["b", "y"]
    assert samples.column("octets") == [b"c", b"z"]


def test_next_insert_of_the_same_columns_brings_its_own_values(samples: Samples) -> None:
    """A statement that is kept compiled keeps no values."""
    for id_, octets in enumerate((b"first", b"", b"the third"), start=1):
        samples.insert({"id": id_, "octets": octets, "text": octets.decode()})

    assert samples.column("octets") == [b"first", b"", b"the third"]
    assert samples.column("text") == ["first", "", "the third"]


def test_rows_without_ids_get_ids_of_their_own(samples: Samples) -> None:
    """A key that the database gives need not be among the columns."""
    samples.insert(*({"number": number} for number in range(1200)))

    assert len(set(samples.column("id"))) == 1200
    assert list(range(1200)) == sorted(samples.column("number"))


def test_no_rows_inserted_is_no_statement(samples: Samples) -> None:
    """Nothing to insert is no error."""
    samples.insert()

    assert samples.column("id") == []


# Reading.


def test_rows_read_at_once_are_those_read_one_by_one(samples: Samples) -> None:
    """Numbers, texts, file names, octets kept as text, and booleans come as their column gives them."""
    kinds = (sample.c.id, sample.c.number, sample.c.text, sample.c.name, sample.c.wire, sample.c.flag)
    samples.insert(
        {"id": 1, "number": LARGE, "text": TEXTS[2], "name": NO_UTF8, "wire": b"\xff", "flag": True},
        {"id": 2, "number": -LARGE, "text": TEXTS[3], "name": "it's", "wire": b"", "flag": False},
        {"id": 3, "number": None, "text": None, "name": None, "wire": None, "flag": None},
    )

    found = sorted(samples.at_once(*kinds))

    assert [
        (1, LARGE, TEXTS[2], NO_UTF8, b"\xff", True),
        (2, -LARGE, TEXTS[3], "it's", b"", False),
        (3, None, None, None, None, None),
    ] == found
    assert [row[5] for row in found] == [True, False, None]
    assert all(row[5] is None or isinstance(row[5], bool) for row in found)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        pytest.param("number", NUMBERS, id="numbers"),
        pytest.param("text", TEXTS, id="texts"),
        pytest.param("name", FILE_NAMES, id="file-names"),
    ],
)
def test_values_read_at_once_are_as_they_were_inserted(samples: Samples, column: str, values: Sequence[Any]) -> None:
    """What is packed on its way out of the store is unpacked to the same values, whatever they hold."""
    samples.insert(*({"id": id_, column: value} for id_, value in enumerate(values, start=1)))

    assert list(enumerate(values, start=1)) == sorted(samples.at_once(sample.c.id, sample.c[column]))


def test_columns_of_one_name_keep_their_places(samples: Samples) -> None:
    """Columns of two tables that share a name, and one column asked for twice, are all in the row."""
    samples.insert({"id": 1, "number": 2, "name": "one"}, {"id": 2, "number": None, "name": NO_UTF8})
    other = sample.alias("other")
    query = (
        select(sample.c.id, other.c.id, sample.c.name, other.c.name, sample.c.id)
        .select_from(sample)
        .join(other, other.c.id == sample.c.number)
    )

    found = samples(lambda conn: [tuple(row) for row in AtOnce(query).rows(conn)])

    assert found == [(1, 2, "one", NO_UTF8, 1)]


def test_no_rows_read_at_once_are_none(samples: Samples) -> None:
    """A query that finds nothing gives an empty sequence."""
    assert samples.at_once(sample.c.id, sample.c.name) == []


def test_octets_read_as_digits_are_the_same_octets(samples: Samples) -> None:
    """Octets, which rows read at once cannot carry, travel as hexadecimal digits."""
    samples.insert(*({"id": id_, "octets": octets} for id_, octets in enumerate(OCTETS, start=1)))

    rows = samples(
        lambda conn: [tuple(row) for row in AtOnce(select(sample.c.id, hexadecimal(sample.c.octets))).rows(conn)]
    )

    assert list(OCTETS) == [bytes.fromhex(digits) for _, digits in sorted(rows)]


# Choosing.


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        pytest.param((), [], id="none"),
        pytest.param((2,), [2], id="one"),
        pytest.param((LARGE, 1, 1, 77), [1, LARGE], id="large-doubled-and-unknown"),
        pytest.param(range(100_000), [1, 2], id="more-than-a-statement-takes-parameters"),
    ],
)
def test_condition_holds_for_the_listed_ids_only(samples: Samples, ids: Sequence[int], found: list[int]) -> None:
    """Any number of ids is one condition, an empty list of them holds for nothing; its contrary for all others."""
    samples.insert({"id": 1}, {"id": 2}, {"id": LARGE})
    is_listed = is_one_of(sample.c.id, iter(ids))

    rows, others = (
        samples(lambda conn, where=where: conn.execute(select(sample.c.id).where(where)).scalars().all())
        for where in (is_listed, ~is_listed)
    )

    assert found == sorted(rows)
    assert {1, 2, LARGE} - set(found) == set(others)


def test_listed_ids_are_found_by_their_key(samples: Samples) -> None:
    """What is asked of a few rows of a large table reads these alone."""

    def explained(conn: Connection) -> str:
        if conn.dialect.name != "sqlite":
            pytest.skip("PostgreSQL plans by what is in the tables")
        asked: list[tuple[str, Any]] = []
        event.listen(conn, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
        conn.execute(select(sample.c.id).where(is_one_of(sample.c.id, [1]), sample.c.number == 1))
        statement, values = asked[0]
        return str(conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).first())

    assert "SEARCH queries_sample USING INTEGER PRIMARY KEY" in samples(explained)


def test_two_conditions_in_one_query_have_lists_of_their_own(samples: Samples) -> None:
    """Conditions on two columns can stand beside each other, in a query that is read at once too."""
    samples.insert({"id": 1, "number": 10}, {"id": 2, "number": 10}, {"id": 3, "number": 30})

    def chosen(conn: Connection) -> list[tuple[Any, ...]]:
        query = select(sample.c.id).where(is_one_of(sample.c.id, [2, 3]), is_one_of(sample.c.number, {10}))
        return [tuple(row) for row in AtOnce(query).rows(conn)]

    assert samples(chosen) == [(2,)]


# Updating.


def test_each_row_gets_its_own_values_and_all_the_same_others(samples: Samples) -> None:
    """Rows that are not named stay as they are; an id that no row has is no error."""
    samples.insert(*({"id": id_, "number": id_, "text": "old", "flag": False} for id_ in (1, 2, 3, LARGE)))

    rows = {
        1: {"number": LARGE, "name": NO_UTF8, "octets": b"\0\xff"},
        LARGE: {"number": None, "name": None, "octets": b""},
        77: {"number": 7, "name": "", "octets": None},
    }
    samples(lambda conn: update_at_once(conn, sample, rows, text=TEXTS[3], flag=True, more=b"\0\xff"))

    assert samples.column("number") == [LARGE, 2, 3, None]
    assert samples.column("name") == [NO_UTF8, None, None, None]
    assert samples.column("octets") == [b"\0\xff", None, None, b""]
    assert [TEXTS[3], "old", "old", TEXTS[3]] == samples.column("text")
    assert samples.column("flag") == [True, False, False, True]
    assert samples.column("more") == [b"\0\xff", None, None, b"\0\xff"]


def test_next_update_of_the_same_columns_brings_its_own_values(samples: Samples) -> None:
    """A statement that is kept compiled keeps neither the list nor the others."""
    samples.insert({"id": 1, "number": 0, "text": ""}, {"id": 2, "number": 0, "text": ""})

    samples(lambda conn: update_at_once(conn, sample, {1: {"number": 10}}, text="a"))
    samples(lambda conn: update_at_once(conn, sample, {2: {"number": 20}}, text="b"))

    assert samples.column("number") == [10, 20]
    assert samples.column("text") == ["a", "b"]


def test_no_values_update_nothing(samples: Samples) -> None:
    """Nothing to update leaves the others of every row alone, too."""
    samples.insert({"id": 1, "number": 1, "text": "old"})

    samples(lambda conn: update_at_once(conn, sample, {}, text="new"))

    assert samples.column("text") == ["old"]


def test_aliases_that_threads_share_have_their_columns_from_the_start() -> None:
    """Made when they are first asked for, they would be made twice where two threads ask at one moment."""
    modules = [importlib.import_module(one.name) for one in pkgutil.walk_packages(store.__path__, "syncd.store.")]
    aliases = {id(one): one for module in modules for one in vars(module).values() if isinstance(one, Alias)}

    assert len(aliases) >= 6
    assert [one.name for one in aliases.values() if "_columns" not in vars(one)] == []
