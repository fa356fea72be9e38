"""Floor 1: the three trees as values: what the server has, what a replica has, and what both last agreed on."""

from enum import Enum, StrEnum
from typing import NamedTuple

from syncd.mail.flags import NONE, Flags
from syncd.values import Value, field


class ReplicaState(StrEnum):
    """Say what a row of a replica tree knows about its file.

    delivering, moving and withdrawn are committed before the file call they announce, so that after any crash a
    file missing in one of them is known to be our own doing. missing, deleted, new and edited are the device's doing:
    missing proves nothing yet; deleted says that a second complete listing, `settle` later, did not have it either.
    found is a file that was there before we were, and of which only its content will tell whether it is a message's.
    """

    DELIVERING = "delivering"
    PRESENT = "present"
    MOVING = "moving"
    WITHDRAWN = "withdrawn"
    MISSING = "missing"
    DELETED = "deleted"
    NEW = "new"
    FOUND = "found"
    EDITED = "edited"


SYNCED = frozenset({ReplicaState.PRESENT, ReplicaState.MOVING})
"""States of a file of a message, in which its flags are the device's."""
UNDERWAY = frozenset({ReplicaState.DELIVERING, ReplicaState.WITHDRAWN})
"""States of a file that is there or not by our own doing."""
NOT_THERE = frozenset({ReplicaState.MISSING, ReplicaState.DELETED})
"""States of a file that a device has no more."""
UNSYNCED = NOT_THERE | {ReplicaState.NEW, ReplicaState.FOUND, ReplicaState.EDITED}
"""States of what a device did that has not reached the server."""


class BodyForm(StrEnum):
    """Say how a file's octets give the body's: LF for each CRLF, or the same; own: not at all.

    own is what a device added, or had before us, and its server has otherwise: with other line ends, or without
    notes of programs.
    """

    LF = "lf"
    RAW = "raw"
    OWN = "own"


class ServerMessage(NamedTuple):
    """A row of the server tree: one message of one mailbox under one UIDVALIDITY.

    internaldate: seconds since 1970. body_id: None until the body is durably in the store. is_gone: the server
    expunged it; the row stays until every replica has followed.
    """

    id: int
    uid: int
    flags: Flags
    size_bytes: int
    internaldate: int
    body_id: int | None
    version: int
    is_gone: bool = False


class BaseMessage(NamedTuple):
    """A row of the base: the flags that server and replica last agreed on; its being there says both had it."""

    flags: Flags


class ReplicaMessage(NamedTuple):
    """A row of a replica tree: one file.

    name: the file name up to `:2,`, which is minted once and never changes; info: what follows that mark, None without
    it. subdir: `new` or `cur`.
    message_id: the server row it holds, None for a file of the device's own. size_bytes and mtime are the file's
    when it was last confirmed.
    """

    id: int
    message_id: int | None
    name: str
    info: str | None
    subdir: str
    flags: Flags
    state: ReplicaState
    size_bytes: int
    mtime: int
    form: BodyForm
    version: int


class Successor(Enum):
    """Say that what took the place of a message is known, so that it was not deleted.

    A device which removed a file put another one in its place, a copy elsewhere or a newer version; or a server moved
    the message to a mailbox that is no Trash. on its way: the server does not have that one yet, or it is not known yet
    whether it is that one. there: it does.
    """

    ON_ITS_WAY = "on its way"
    THERE = "there"


class Pair(NamedTuple):
    """One message as the three trees have it, for one replica; None where a tree does not have it.

    successor: what has taken the place of a file that the device deleted, or of a message that is gone and whose file
    the device changed.
    """

    server: ServerMessage | None
    base: BaseMessage | None
    replica: ReplicaMessage | None
    successor: Successor | None = None


class Holdable(Value):
    """Say which flags a side can represent: these, and any keyword when `any_keyword`."""

    flags: Flags = field(default=NONE)
    any_keyword: bool = False

    def part_of(self, flags: Flags) -> Flags:
        """Return those of `flags` that the side can hold; keywords are compared without case."""
        if flags <= self.flags:
            return flags
        if self.any_keyword:
            return frozenset(flag for flag in flags if not flag.startswith("\\") or flag in self.flags)
        known = {flag.lower() for flag in self.flags}
        return frozenset(flag for flag in flags if flag.lower() in known)
