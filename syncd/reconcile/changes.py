"""Floor 2: changes: what a look at a replica says about the rows we hold of it."""

from collections.abc import Iterable, Mapping

from syncd.mail.flags import Flags
from syncd.mail.tree import NOT_THERE, UNDERWAY, ReplicaMessage, ReplicaState
from syncd.values import Value

_NOT_AS_IT_WAS = NOT_THERE | {ReplicaState.MOVING, ReplicaState.EDITED}


class Sighting(Value):
    """Describe a file of a replica as it was just seen; size and mtime are None when nobody asked for them."""

    name: str
    info: str | None
    subdir: str
    flags: Flags
    size_bytes: int | None = None
    mtime: int | None = None


class Appeared(Value):
    """A file that no row knows."""

    seen: Sighting


class Reflagged(Value):
    """A known file under other flags, in the other directory, there again, or with its old octets again."""

    file_id: int
    seen: Sighting


class Edited(Value):
    """A known file whose octets are no longer those we wrote."""

    file_id: int
    seen: Sighting


class Rewritten(Value):
    """A file of the device's own with other octets than at the last look."""

    file_id: int
    seen: Sighting


class Vanished(Value):
    """A known file that is not there; one of the device's own is gone for good unless it is on its way already."""

    file_id: int
    is_own: bool


class Lost(Value):
    """A file that we were renaming when we were interrupted and that is not there: our own doing, so put it back."""

    file_id: int


Change = Appeared | Reflagged | Edited | Rewritten | Vanished | Lost


def compare(
    rows: Mapping[str, ReplicaMessage], seen: Mapping[str, Sighting], names: Iterable[str]
) -> tuple[Change, ...]:
    """Return what changed among `names`, given the rows that we hold of them and what is seen of them now.

    The task that performs is the one that looks, so a row that announces our own doing is an interrupted one. A file
    coming or going is planned again whatever is seen, except that one which came and is neither shorter nor as
    recorded is the device's. For one being renamed, what is seen is the fact: the base has not moved, so the merge
    tells our change from the device's.
    """
    changes: list[Change] = []
    for name in names:
        row, file = rows.get(name), seen.get(name)
        if row is None:
            if file is not None:
                changes.append(Appeared(file))
        elif row.state in UNDERWAY:
            if file is not None and row.state is ReplicaState.DELIVERING and _is_not_ours(row, file):
                changes.append(Edited(row.id, file))
        elif file is None and row.state is ReplicaState.MOVING:
            changes.append(Lost(row.id))
        elif file is None:
            if row.state not in NOT_THERE:
                changes.append(Vanished(row.id, is_own=row.message_id is None))
        elif _has_other_octets(row, file):
            if row.message_id is None:
                changes.append(Rewritten(row.id, file))
            elif row.state is not ReplicaState.EDITED:
                changes.append(Edited(row.id, file))
        elif row.state in _not_as_it_was(row) or _is_elsewhere(row, file):
            changes.append(Reflagged(row.id, file))
    return tuple(changes)


def _not_as_it_was(row: ReplicaMessage) -> frozenset[ReplicaState]:
    # NOTE: one of the device's own that was rewritten on its way stays so until it is there.
    return NOT_THERE if row.message_id is None else _NOT_AS_IT_WAS


def _is_elsewhere(row: ReplicaMessage, file: Sighting) -> bool:
    return (row.flags, row.info, row.subdir) != (file.flags, file.info, file.subdir)


def _has_other_octets(row: ReplicaMessage, file: Sighting) -> bool:
    if file.size_bytes is None or file.mtime is None:
        return False
    return (row.size_bytes, row.mtime) != (file.size_bytes, file.mtime)


def _is_not_ours(row: ReplicaMessage, file: Sighting) -> bool:
    """Tell whether a file that we may have written was changed: what we wrote of it is shorter, or as recorded."""
    if file.size_bytes is None or file.size_bytes < row.size_bytes:
        return False
    return (file.size_bytes, file.mtime) != (row.size_bytes, row.mtime)
