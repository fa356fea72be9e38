"""Floor 3: what LIST, UIDL, STAT and CAPA say, read leniently: a junk line costs one message its identity, no more."""

import re
from collections.abc import Iterable

from syncd.values import Value

UIDL_MAX_CHARS = 255
"""RFC 1939 §7 allows 70; a longer one than ours is no identity."""

_LIST_LINE = re.compile(rb"([0-9]{1,10})[ \t]+([0-9]{1,19})(?![0-9])[^\n]*")
_UIDL_LINE = re.compile(rb"([0-9]{1,10})[ \t]+([!-~]{1,%d})[ \t]*" % UIDL_MAX_CHARS)
_STAT = re.compile(rb"([0-9]{1,10})(?![0-9])")
_NUMBER_MAX = 2**31 - 1


class Listed(Value):
    """Hold one message of a maildrop as listed in this session.

    uidl: None where the server gave none, a junk one, or the same one to two messages. size_bytes: None where LIST
    gave none or contradicted itself; otherwise only a claim of the server.
    """

    number: int
    uidl: str | None
    size_bytes: int | None


def join_listings(sizes: Iterable[bytes], uidls: Iterable[bytes]) -> tuple[Listed, ...]:
    """Return the messages that the lines of LIST and UIDL name, by number.

    UIDLs that are just the message numbers name positions, not messages: they are none.
    """
    size_of: dict[int, int | None] = {}
    for line in sizes:
        if (match := _LIST_LINE.fullmatch(line)) and 0 < (number := int(match[1])) <= _NUMBER_MAX:
            size = int(match[2])
            size_of[number] = size if size_of.get(number, size) == size else None
    uidl_of: dict[int, str | None] = {}
    for line in uidls:
        if (match := _UIDL_LINE.fullmatch(line)) and 0 < (number := int(match[1])) <= _NUMBER_MAX:
            uidl = match[2].decode("ascii")
            uidl_of[number] = uidl if uidl_of.get(number, uidl) == uidl else None
    if all(uidl == str(number) for number, uidl in uidl_of.items()):
        uidl_of = dict.fromkeys(uidl_of)
    times: dict[str | None, int] = {}
    for given in uidl_of.values():
        times[given] = times.get(given, 0) + 1
    return tuple(
        Listed(number, uidl if times.get(uidl) == 1 else None, size_of.get(number))
        for number in sorted(size_of.keys() | uidl_of.keys())
        for uidl in (uidl_of.get(number),)
    )


def count_of(stat: bytes) -> int | None:
    """Return the number of messages that the text of STAT's answer names, None when it names none."""
    match = _STAT.match(stat)
    return int(match[1]) if match else None


def mechanisms_of(lines: Iterable[bytes]) -> frozenset[str]:
    """Return the SASL mechanisms that CAPA announces, in upper case (RFC 5034 §3)."""
    announced = (line.decode("ascii", "replace").upper().split() for line in lines)
    return frozenset(name for words in announced if words[:1] == ["SASL"] for name in words[1:])


def capabilities_of(lines: Iterable[bytes]) -> frozenset[str]:
    """Return the first words of CAPA's lines in upper case (RFC 2449 §5)."""
    return frozenset(words[0].decode("ascii", "replace").upper() for line in lines if (words := line.split()))
