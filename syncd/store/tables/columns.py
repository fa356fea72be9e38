"""Floor 3: what tables are made of: columns that many have, their types, and how what belongs to a table is named.

`metadata` is whole only with `partial_indexes`, which has all tables with all their indexes; who queries needs less.
"""

import os
from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, Column, Dialect, ForeignKey, Integer, MetaData, Text, text
from sqlalchemy.types import TypeDecorator

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer, "sqlite")


class Octets(TypeDecorator[bytes]):
    """Keep octets as text, one character an octet: any value is kept, and ASCII stays readable in a shell."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else value.decode("latin-1")

    def process_result_value(self, value: Any, dialect: Dialect) -> bytes | None:
        return None if value is None else str(value).encode("latin-1")


class FileName(TypeDecorator[str]):
    """Keep a file name, which may be no valid UTF-8 (PEP 383), as `Octets` keeps octets."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None or value.isascii() else os.fsencode(value).decode("latin-1")

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], str | None]:
        # NOTE: the function itself, and not one that calls it: a round reads four names for each file.
        return _file_name


def _file_name(value: str | None) -> str | None:
    return value if value is None or value.isascii() else os.fsdecode(value.encode("latin-1"))  # nearly all are ASCII


def id_column() -> Column[int]:
    """Make a primary key that counts; with `sqlite_autoincrement` of its table no id is used again."""
    return Column("id", Id, primary_key=True, autoincrement=True)


def ref_column(name: str, target: str, *, nullable: bool = False, ondelete: str = "CASCADE") -> Column[int]:
    """Make a foreign key to the id of a table, by the table's name."""
    return Column(name, Id, ForeignKey(f"{target}.id", ondelete=ondelete), nullable=nullable)


def flags_column(name: str = "flags") -> Column[str]:
    """Make a column for the text of `mail.flags.format_flags`."""
    return Column(name, Text, nullable=False, server_default="")


def count_column(name: str, default: int = 0) -> Column[int]:
    """Make a column for a number that is always known."""
    return Column(name, BigInteger, nullable=False, server_default=text(str(default)))
