"""Floor 2: what the contract names and this version cannot do: such a key is refused, never silently ignored."""

from collections.abc import Iterator, Mapping
from typing import Any

from syncd.values import Value

REFUSAL = "not available in this version of syncd; remove the key"


class NotYet(Value):
    """Name a key of the contract without its feature. harmless: the values that ask for nothing."""

    key: tuple[str, ...]
    harmless: tuple[str, ...] = ()
    only: str = ""
    """What is available instead, in words."""


NOT_YET = (
    NotYet(("accounts", "*", "provider")),
    NotYet(("accounts", "*", "pin_sha256")),
    NotYet(("accounts", "*", "client_cert")),
    NotYet(("accounts", "*", "token_command")),
    NotYet(("accounts", "*", "oauth")),
    NotYet(("accounts", "*", "forward_to")),
)
"""One row for each key whose feature does not exist yet; a feature that arrives deletes its row."""


def unavailable(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each key that is set in `values` (as the file has them) but not available, and why."""
    for row in NOT_YET:
        for path, value in _found(row.key, values, ()):
            if str(value).lower() not in row.harmless:
                yield path, f"{REFUSAL} ({row.only})" if row.only else REFUSAL


def _found(key: tuple[str, ...], values: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    if not key:
        yield path, values
    elif isinstance(values, Mapping):
        for name in values if key[0] == "*" else (key[0],):
            if name in values:
                yield from _found(key[1:], values[name], (*path, name))
