"""Floor 2: moves: what a file that a device added is, given the messages that have its octets.

Theory. A program moves a message by making a file in one mailbox and removing one in another, in either order, and
copies it by making a file. Which it was is told by octets alone and never guessed: a file whose octets the account has
nowhere is new. A source that is only missing may come back, so its file waits until that is known. A file whose message
the server deleted is no copy of anything: it comes back from the Trash, or is sent.

House rules. No I/O, no clock: the same files and messages give the same answer in whatever order they come. A source is
moved once, and equal files stay as many messages as there are files.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import Enum

from syncd.mail.tree import ReplicaState
from syncd.values import Value, field


class Way(Enum):
    """How an added file becomes a message of its mailbox.

    bind: the mailbox has the message, and the device has no other file of it. move: its old file is deleted, so the
    message is moved on the server. copy: the server copies one that it has. append: the server is sent the octets.
    wait: it will be known later. A file whose message the server deleted is moved out of the Trash, or sent.
    """

    BIND = "bind"
    MOVE = "move"
    COPY = "copy"
    APPEND = "append"
    WAIT = "wait"


class OwnFile(Value):
    """A file that a device added and whose octets are a body of the store. is_restored: its server deleted it."""

    file_id: int
    device_id: int
    mailbox_id: int
    body_id: int
    name: str
    is_restored: bool = False


class DeviceFile(Value):
    """What a device has of a message: the file, or None where only the base tells that it once had one."""

    state: ReplicaState | None
    name: str | None = None


class Candidate(Value):
    """A message on the server with the octets of an added file. files: by device id, of those that know it."""

    message_id: int
    mailbox_id: int
    uid: int
    body_id: int
    files: Mapping[int, DeviceFile] = field(default_factory=dict)

    def state_on(self, device_id: int) -> ReplicaState | None:
        file = self.files.get(device_id)
        return None if file is None else file.state

    def has_name(self, own: OwnFile) -> bool:
        file = self.files.get(own.device_id)
        return file is not None and file.name == own.name


class Origin(Value):
    """Say how a file becomes a message, and from which message that is there."""

    way: Way
    source: Candidate | None = None


def origins(
    files: Iterable[OwnFile], candidates: Iterable[Candidate], *, trash_id: int | None = None
) -> Mapping[int, Origin]:
    """Return how each file, by row id, becomes a message of its mailbox; trash_id: the Trash of the account."""
    by_body: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda one: (one.uid, one.message_id)):
        by_body[candidate.body_id].append(candidate)
    ordered = sorted(files, key=lambda one: (not _is_named(one, by_body[one.body_id]), one.file_id))
    used: set[int] = set()
    bound: set[tuple[int, int]] = set()
    placed: dict[tuple[int, int], int] = {}
    found: dict[int, Origin] = {}
    for own in ordered:
        origin = _origin(own, by_body[own.body_id], used, bound, trash_id)
        here = (own.mailbox_id, own.body_id)
        if origin.way in {Way.COPY, Way.APPEND, Way.MOVE} and placed.setdefault(here, own.device_id) != own.device_id:
            origin = Origin(Way.WAIT)  # another device brings the same message there
        if origin.source is not None and origin.way is Way.MOVE:
            used.add(origin.source.message_id)
        if origin.source is not None and origin.way is Way.BIND:
            bound.add((own.device_id, origin.source.message_id))
        found[own.file_id] = origin
    return found


def _origin(
    own: OwnFile, candidates: list[Candidate], used: set[int], bound: set[tuple[int, int]], trash_id: int | None
) -> Origin:
    named = sorted(candidates, key=lambda one: not one.has_name(own))
    here = [one for one in named if one.mailbox_id == own.mailbox_id]
    free = [one for one in here if (own.device_id, one.message_id) not in bound and one.message_id not in used]
    elsewhere = [one for one in named if one.mailbox_id != own.mailbox_id and one.message_id not in used]
    renamed = [one for one in free if one.state_on(own.device_id) is ReplicaState.DELETED]
    unknown = [one for one in free if own.device_id not in one.files]
    if renamed or unknown:
        return Origin(Way.BIND, (renamed or unknown)[0])
    if own.is_restored:
        # NOTE: of equal ones, the newest is that which was put into the Trash last.
        trashed = [one for one in elsewhere if one.mailbox_id == trash_id]
        return Origin(Way.MOVE, trashed[-1]) if trashed else Origin(Way.APPEND)
    if any(one.state_on(own.device_id) is ReplicaState.MISSING for one in free):
        return Origin(Way.WAIT)
    moved = [one for one in elsewhere if one.state_on(own.device_id) is ReplicaState.DELETED]
    if moved:
        return Origin(Way.MOVE, moved[0])
    if any(one.state_on(own.device_id) is ReplicaState.MISSING for one in elsewhere):
        return Origin(Way.WAIT)
    copied = elsewhere or free
    return Origin(Way.COPY, copied[0]) if copied else Origin(Way.APPEND)


def _is_named(own: OwnFile, candidates: Iterable[Candidate]) -> bool:
    return any(one.has_name(own) for one in candidates)
