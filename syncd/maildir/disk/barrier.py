"""Floor 3: making a batch of file work durable: one syncfs, or a few fsyncs when the batch is small."""

from collections.abc import Collection, Iterable
from itertools import groupby
from pathlib import PurePosixPath

from syncd.errors import FileError
from syncd.maildir.disk.files import MailboxDirectory
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.system.failures import failing
from syncd.maildir.system.libc import syncfs
from syncd.values import Value

_SMALL_BATCH = 16
"""Up to here fsyncs are cheaper than writing out whatever else the file system holds."""


class Touched(Value):
    """Name a list of names that changed (cur/ or new/), and the file in it whose octets did, or None."""

    directory: PurePosixPath
    subdir: str
    filename: str | None = None


def barrier(root: ReplicaRoot, touched: Iterable[Touched]) -> None:
    """Return once all that was touched is on disk.

    FileError when the disk could not take something: then nothing of the batch counts as durable, and trying the
    barrier again proves nothing, for the kernel has forgotten what it could not write.
    """
    places = set(touched)
    if not places:
        return
    if len(places) <= _SMALL_BATCH and _sync_each(root, places):
        return
    if not _sync_file_systems(root, places) and not _sync_each(root, places):
        raise FileError("a message went away before it was durable")


def _sync_each(root: ReplicaRoot, places: Collection[Touched]) -> bool:
    """Sync files and lists of names; False when a file has another name by now, so that its octets were not."""
    is_whole = True
    ordered = sorted(places, key=lambda place: (place.directory, place.subdir, place.filename or ""))
    for directory, in_directory in groupby(ordered, key=lambda place: place.directory):
        with root.mailbox(directory) as mailbox:
            for subdir, in_subdir in groupby(in_directory, key=lambda place: place.subdir):
                for place in in_subdir:
                    if place.filename is not None and not mailbox.sync_file(subdir, place.filename):
                        is_whole = False
                mailbox.sync_names(subdir)
    return is_whole


def _sync_file_systems(root: ReplicaRoot, places: Collection[Touched]) -> bool:
    if not root.sync_all():
        return False
    done = {root.device_number()}
    for directory in sorted({place.directory for place in places}):
        with root.mailbox(directory) as mailbox:
            # A mailbox may be a mount of its own below the root.
            device_number = mailbox.device_number()
            if device_number not in done:
                _sync_file_system(mailbox)
                done.add(device_number)
    return True


def _sync_file_system(mailbox: MailboxDirectory) -> None:
    with failing("make a batch durable"):
        syncfs(mailbox.fd)
