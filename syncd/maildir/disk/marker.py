"""Floor 3: the marker in a device root, which proves that a directory is the replica that the store knows."""

import json
import os
from enum import StrEnum
from pathlib import PurePosixPath

from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.system.failures import failing
from syncd.values import Value

MARKER = ".syncd"
_TEMPORARY = ".syncd~"
_FORMAT = 1
_NOTHING = frozenset({"lost+found", _TEMPORARY})
"""What a fresh file system has, and what an interrupted syncd leaves that was about to write its first marker."""
_ROOT = PurePosixPath()


class Marker(Value):
    """Name the device, the store that owns it, and the last barrier that its files have passed."""

    device: str
    store: str
    generation: int


class MarkerFault(StrEnum):
    """Why a root shows no marker: there is none, or its text is not one."""

    MISSING = "missing"
    MALFORMED = "malformed"


class Standing(StrEnum):
    """What a marker says of a root, compared with what the store recorded.

    older: the replica was restored from a backup; newer: the store was. Both, and another store or device
    (foreign), need an adoption; without a readable marker the device is away.
    """

    KNOWN = "known"
    MISSING = "missing"
    MALFORMED = "malformed"
    FOREIGN = "foreign"
    OLDER = "older"
    NEWER = "newer"


def is_empty(root: ReplicaRoot) -> bool:
    """Tell whether a root holds nothing that anybody put there, so that it can be anybody's."""
    with failing("list the directory of the device"):
        return _NOTHING.issuperset(os.listdir(root.fd))  # noqa: PTH208


def read_marker(root: ReplicaRoot) -> Marker | MarkerFault:
    """Return the marker of a root, or why there is none."""
    octets = root.read_control(_ROOT, MARKER)
    if octets is None:
        return MarkerFault.MISSING
    try:
        found = json.loads(octets)
    except (ValueError, RecursionError):
        return MarkerFault.MALFORMED
    match found:
        case {"format": int(), "device": str(device), "store": str(store), "generation": int(generation)} if (
            found["format"] == _FORMAT and generation >= 0
        ):
            return Marker(device, store, generation)
        case _:
            return MarkerFault.MALFORMED


def write_marker(root: ReplicaRoot, marker: Marker) -> None:
    """Put a marker into a root: the old one or the new one is there at any instant."""
    text = json.dumps(
        {"format": _FORMAT, "device": marker.device, "store": marker.store, "generation": marker.generation}
    )
    root.write_control(_ROOT, MARKER, text.encode() + b"\n", temporary=_TEMPORARY)


def standing(found: Marker | MarkerFault, recorded: Marker, *, reserved_generation: int | None = None) -> Standing:
    """Compare what a root shows with what the store recorded.

    reserved_generation: the highest generation that the store committed as about to be written; a crash between
    that commit and the next leaves the marker at any generation up to it.
    """
    if found is MarkerFault.MISSING:
        return Standing.MISSING
    if isinstance(found, MarkerFault):
        return Standing.MALFORMED
    if (found.device, found.store) != (recorded.device, recorded.store):
        return Standing.FOREIGN
    if found.generation < recorded.generation:
        return Standing.OLDER
    if found.generation > max(recorded.generation, reserved_generation or 0):
        return Standing.NEWER
    return Standing.KNOWN
