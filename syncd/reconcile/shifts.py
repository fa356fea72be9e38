"""Floor 2: shifts: files that a device can keep because its server has their messages in another mailbox now.

Theory. On its server a message that moves ends in one mailbox and begins in another, so a device has a file too many
here and one too few there. Any such file may stand for any such message with the same content; where contents are equal
several times, each file stands for one message, in the order of their UIDs.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import NamedTuple

Content = tuple[int, int, int]
"""What a file and a message must have in common: account, body and INTERNALDATE."""


class Leaving(NamedTuple):
    """A file whose message is gone from its mailbox."""

    replica_id: int
    uid: int
    file_id: int
    name: str
    content: Content


class Arriving(NamedTuple):
    """A message that the device takes and does not have."""

    replica_id: int
    uid: int
    message_id: int
    content: Content


def match(
    leaving: Iterable[Leaving], arriving: Iterable[Arriving], *, taken: Collection[tuple[int, str]] = ()
) -> tuple[tuple[Leaving, Arriving], ...]:
    """Return which file becomes which message, each at most once and never in its own mailbox.

    taken: names that replicas have already, by replica id; no other file can come there under one of them.
    """
    left: defaultdict[Content, list[Leaving]] = defaultdict(list)
    for one in sorted(leaving):
        left[one.content].append(one)
    used = set(taken)
    found: list[tuple[Leaving, Arriving]] = []
    for message in sorted(arriving):
        here = message.replica_id
        for file in left[message.content]:
            if file.replica_id != here and (here, file.name) not in used:
                left[message.content].remove(file)
                used.add((here, file.name))
                found.append((file, message))
                break
    return tuple(found)
