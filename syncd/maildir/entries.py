"""Names of a directory among which a few are looked for, in what the system says of it rather than one by one.

Theory. The system tells of a directory in pieces of whole records, which have the octets of each name as they are. If
a piece has the octets of none of some names, no file that it tells of has one of them, and nothing in it is looked at.
Python's own listing makes a text of each name, which takes as long again as to read the directory, and lets its lock go
and asks for it back at each: beside threads that are busy it gets one name for each of their turns.
"""

import os
import re
import struct
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from syncd.maildir import libc

_FEW = 200
"""With more to look for, each name is made."""
_LENGTH_AT, _NAME_AT = 16, 19
"""Where a record has its length, and its name, which ends with a NUL (getdents64(2))."""
_length_at = struct.Struct("=H").unpack_from


def names_beside(fd: int, wanted: Collection[str]) -> Iterator[Sequence[str]]:
    """Yield the names of a directory, dot names too, but for those that are in one piece with none of those wanted.

    What is wanted are names, or the beginnings of names. There is one turn for each piece, so that whoever takes them
    can stop early.
    """
    looked_for = _expression(wanted)
    if looked_for is None or not libc.has_records:
        yield os.listdir(fd)
        return
    # NOTE: a descriptor of its own, for how far one is read is common to all that have it.
    own_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    try:
        for records in libc.records(own_fd):
            yield [os.fsdecode(name) for name in _names(records)] if looked_for.search(records) else ()
    finally:
        os.close(own_fd)


def _expression(wanted: Collection[str]) -> re.Pattern[bytes] | None:
    """Return what finds any of these names; None where they are too many, or begin so differently that it takes long.

    NOTE: names of mail begin with the time, so that they are found by their first octets.
    """
    names = sorted({os.fsencode(name) for name in wanted})
    if not 0 < len(names) <= _FEW or names[0][:1] != names[-1][:1]:
        return None
    return re.compile(_any_of(names))


def _any_of(names: Sequence[bytes]) -> bytes:
    """Return an expression for any of these names, or what one of them begins with; sorted, and all different.

    NOTE: that in which they begin alike is compared once: to try one after the other would take five times as long.
    """
    start = os.path.commonprefix((names[0], names[-1])) or b""  # noqa: RUF071
    if start == names[0]:
        return re.escape(start)
    tails = groupby((name.removeprefix(start) for name in names), key=lambda tail: tail[0])
    return re.escape(start) + b"(?:" + b"|".join(_any_of(list(group)) for _, group in tails) + b")"


def _names(records: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(records):
        (length,) = _length_at(records, at + _LENGTH_AT)
        yield records[at + _NAME_AT : records.index(0, at + _NAME_AT)]
        at += length
