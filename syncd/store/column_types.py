"""Floor 3: types of columns that hold octets and file names, whatever they are."""

import os
from typing import Any

from sqlalchemy import (
    Dialect,
    Text,
)
from sqlalchemy.types import TypeDecorator


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

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        # NOTE: nearly every name is ASCII, and a round reads four of them for each file.
        return value if value is None or value.isascii() else os.fsdecode(str(value).encode("latin-1"))
