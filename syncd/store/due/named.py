"""Floor 3: messages as a person names them: by a number, or by a Message-ID."""

from sqlalchemy import ColumnElement

from syncd.store.tables.schema import body

_DIGITS_MAX = 18
"""Every database takes so many digits for an id."""


def number_of(named: str) -> int | None:
    """Return the number by which a person names a message; None for a Message-ID."""
    is_number = named.isascii() and named.isdecimal() and len(named) <= _DIGITS_MAX
    return int(named) if is_number else None


def has_header_id(named: str) -> ColumnElement[bool]:
    """Say of a body that it has this Message-ID, be it given with its angle brackets or without."""
    bare = named.strip().removeprefix("<").removesuffix(">")
    return body.c.message_id.in_((bare, f"<{bare}>"))
