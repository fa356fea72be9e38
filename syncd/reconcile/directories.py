"""Floor 2: in which order the directories of a device take the names that their mailboxes have now.

Theory. A step is a rename of one directory with all that is inside, and its new name must be free, with nothing inside.
So one waits for those that are there and go elsewhere, and for those that are to be around it. Where some wait for each
other, and where one is to be inside itself, or around, it is put aside for a moment.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath

from syncd.values import Value

Paths = Mapping[int, PurePosixPath]


class Step(Value):
    """Rename the directory of a replica."""

    replica_id: int
    source: PurePosixPath
    target: PurePosixPath


def next_step(now: Paths, wanted: Paths) -> Step | None:
    """Return what to do next, by replica; None when nothing is left, or when each has its name taken.

    wanted: of those that may be renamed; the others stay where they are.
    """
    wrong = {id_: wanted[id_] for id_ in wanted if wanted[id_] != now[id_]}
    if not wrong:
        return None
    there, to_be = _inside_of(now), {directory: id_ for id_, directory in wrong.items()}
    waits = {id_: _waits(id_, now, wrong, there.get(wrong[id_], frozenset()), to_be) for id_ in wrong}
    ordered = sorted(wrong, key=lambda one: (len(wrong[one].parts), len(now[one].parts), one))
    for id_ in ordered:
        if not waits[id_]:
            return Step(id_, now[id_], wrong[id_])
    for id_ in ordered:
        if now[id_] != aside(id_) and _is_reached(id_, waits):
            return Step(id_, now[id_], aside(id_))
    return None


def aside(replica_id: int) -> PurePosixPath:
    """Return the directory of a replica that waits for its name; no layout has a mailbox there."""
    return PurePosixPath(f".syncd-{replica_id}")


def _waits(
    replica_id: int, now: Paths, wrong: Paths, there: frozenset[int], to_be: Mapping[PurePosixPath, int]
) -> frozenset[int]:
    """Return the replicas for which one has to wait, itself among them if it is in its own way.

    there: those that are where it is to be, or inside. to_be: whose the directories are to be.
    """
    target = wrong[replica_id]
    # NOTE: what goes along with another one is in nobody's way.
    outer = [id_ for id_ in there if id_ in wrong]
    blocking = [id_ for id_ in there if not any(_is_inside(now[id_], now[other]) for other in outer)]
    around = [to_be[directory] for directory in target.parents if directory in to_be]
    itself = [replica_id] if _is_inside(target, now[replica_id]) else []
    return frozenset((*blocking, *around, *itself))


def _inside_of(now: Paths) -> Mapping[PurePosixPath, frozenset[int]]:
    """Return by directory which replicas are there or inside."""
    found: defaultdict[PurePosixPath, set[int]] = defaultdict(set)
    for id_, directory in now.items():
        for outer in (directory, *directory.parents):
            found[outer].add(id_)
    return {directory: frozenset(ids) for directory, ids in found.items()}


def _is_inside(inner: PurePosixPath, outer: PurePosixPath) -> bool:
    return inner != outer and inner.is_relative_to(outer)


def _is_reached(replica_id: int, waits: Mapping[int, frozenset[int]]) -> bool:
    """Tell whether a replica waits for itself in the end."""
    seen: set[int] = set()
    pending = [*waits[replica_id]]
    while pending:
        one = pending.pop()
        if one not in seen:
            seen.add(one)
            pending += waits.get(one, ())
    return replica_id in seen
