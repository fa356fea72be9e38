"""Floor 1: flags and keywords of a message: their one spelling, their text, and changes of single ones."""

from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from typing import TypeVar

Flags = frozenset[str]
"""System flags with their backslash in canonical case, keywords as first seen; never \\Recent."""

SEEN = "\\Seen"
ANSWERED = "\\Answered"
FLAGGED = "\\Flagged"
DELETED = "\\Deleted"
DRAFT = "\\Draft"
FORWARDED = "$Forwarded"

SYSTEM: Flags = frozenset({SEEN, ANSWERED, FLAGGED, DELETED, DRAFT})
NONE: Flags = frozenset()

_CANONICAL = {flag.lower(): flag for flag in SYSTEM}
_NOT_IN_ATOM = frozenset('(){%*"\\] ')
_MAX_KEYWORD_BYTES = 255


_REMEMBERED = 4096
_TEXT_MAX = 512
_FLAGS_MAX = 32

S = TypeVar("S", str, bytes, Flags)
T = TypeVar("T")


def remembered(*, most: int) -> Callable[[Callable[[S], T]], Callable[[S], T]]:
    """Remember what a function returns of the last arguments, of those that are no longer than `most`.

    NOTE: they come from servers, and one that makes up long ones would fill the memory of all accounts.
    """

    def remembering(function: Callable[[S], T]) -> Callable[[S], T]:
        known = lru_cache(maxsize=_REMEMBERED)(function)

        @wraps(function)
        def asked(argument: S) -> T:
            return known(argument) if len(argument) <= most else function(argument)

        return asked

    return remembering


@remembered(most=_TEXT_MAX)
def canonical(flag: str) -> str | None:
    """Return the one spelling of a flag, or None for what is not kept.

    System flags are case-insensitive (RFC 3501 §2.3.2); \\Recent and unknown backslash flags belong to the
    session, not to the message. A keyword that is no atom, or is longer than 255 octets, is dropped: it could be
    sent to no server.
    """
    if flag.startswith("\\"):
        return _CANONICAL.get(flag.lower())
    if not flag or len(flag) > _MAX_KEYWORD_BYTES:
        return None
    if any(char in _NOT_IN_ATOM or not "\x20" < char < "\x7f" for char in flag):
        return None
    return flag


def flags_of(names: Iterable[str]) -> Flags:
    """Return the flags among `names`; keywords that differ only in case count once (RFC 9051 §2.3.2)."""
    kept: dict[str, str] = {}
    for name in names:
        flag = canonical(name)
        if flag is not None:
            kept.setdefault(flag.lower(), flag)
    return frozenset(kept.values())


@remembered(most=_TEXT_MAX)
def parse_flags(text: str) -> Flags:
    """Return the flags of `format_flags`'s text; equal texts give the same object."""
    return frozenset(text.split())


@remembered(most=_FLAGS_MAX)
def format_flags(flags: Flags) -> str:
    """Return flags as the one space-joined text that the store keeps and compares."""
    return " ".join(sorted(flags))


def with_same_letters(flags: Flags) -> Flags:
    """Return those flags whose letters in file names mean the same in every mailbox."""
    return frozenset(flag for flag in flags if flag.startswith("\\") or flag.lower() == FORWARDED.lower())


def delta_as_text(*, add: Flags, remove: Flags) -> str:
    """Return a per-flag change as a person reads it: `+\\Seen -\\Flagged`."""
    return " ".join([*(f"+{flag}" for flag in sorted(add)), *(f"-{flag}" for flag in sorted(remove))])


def with_delta(flags: Flags, *, add: Flags, remove: Flags) -> Flags:
    """Return `flags` after a per-flag change, whatever else happened to them meanwhile."""
    if not add and not remove:
        return flags
    gone = {flag.lower() for flag in remove} | {flag.lower() for flag in add}
    return frozenset(flag for flag in flags if flag.lower() not in gone or flag in add) | add
