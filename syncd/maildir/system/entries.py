"""Floor 3: names of a directory among which a few are looked for, in what the system says of it rather than one by one.

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

from syncd.maildir.system import libc

_FEW = 50
"""With more to look for, each name is made: what finds many is itself made for longer than a listing takes."""
_SMALL_BYTES = 64 * 1024
"""Most directories have no more: to make their some hundred names takes less time than to make an expression."""
_LENGTH_AT, _NAME_AT = 16, 19
"""Where a record has its length, and its name, which ends with a NUL (getdents64(2))."""
_length_at = struct.Struct("=H").unpack_from


def names_beside(fd: int, wanted: Collection[str]) -> Iterator[Sequence[str]]:
    """Yield the names of a directory, dot names too, but for those that are in one piece with none of those wanted.

    What is wanted are names, or the beginnings of names. There is one turn for each piece, so that whoever takes them
    can stop early.
    """
    names = sorted({os.fsencode(name) for name in wanted})
    if not libc.has_records or not _are_found_soon(names):
        yield os.listdir(fd)
        return
    # NOTE: a descriptor of its own, for how far one is read is common to all that have it.
    own_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    try:
        looked_for: re.Pattern[bytes] | None = None
        for records in libc.records(own_fd):
            if looked_for is None and len(records) > _SMALL_BYTES:
                looked_for = re.compile(_any_of(names))
            yield _names(records) if looked_for is None or looked_for.search(records) else ()
    finally:
        os.close(own_fd)


def _are_found_soon(names: Sequence[bytes]) -> bool:
    """Tell whether sorted names are few, and begin alike, as those of mail do, which begin with the time."""
    return 0 < len(names) <= _FEW and names[0][:1] == names[-1][:1]


def _any_of(names: Sequence[bytes]) -> bytes:
    """Return an expression for any of these names, or what one of them begins with; sorted, and all different.

    NOTE: that in which they begin alike is compared once: to try one after the other would take five times as long.
    """
    start = os.path.commonprefix((names[0], names[-1])) or b""  # noqa: RUF071
    if start == names[0]:
        return re.escape(start)
    tails = groupby((name.removeprefix(start) for name in names), key=lambda tail: tail[0])
    return re.escape(start) + b"(?:" + b"|".join(_any_of(list(group)) for _, group in tails) + b")"


def _names(records: bytes) -> Sequence[str]:
    names: list[str] = []
    at = 0
    while at < len(records):
        (length,) = _length_at(records, at + _LENGTH_AT)
        names.append(os.fsdecode(records[at + _NAME_AT : records.index(0, at + _NAME_AT)]))
        at += length
    return names
