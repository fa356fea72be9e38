"""Floor 2: what the contract names and this version cannot do: such a key is refused, never silently ignored."""

from collections.abc import Iterator, Mapping
from typing import Any

REFUSAL = "not available in this version of syncd; remove the key"


NOT_YET = (("accounts", "*", "forward_to"),)
"""Each key whose feature does not exist yet; a feature that arrives deletes its own."""


def unavailable(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each key that is set in `values` (as the file has them) but not available, and why."""
    for key in NOT_YET:
        for path in _found(key, values, ()):
            yield path, REFUSAL


def _found(key: tuple[str, ...], values: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not key:
        yield path
    elif isinstance(values, Mapping):
        for name in values if key[0] == "*" else (key[0],):
            if name in values:
                yield from _found(key[1:], values[name], (*path, name))
