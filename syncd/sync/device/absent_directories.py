"""Floor 4: what follows when a mailbox of a device has no directory any more: it is removed, made again, or nothing."""

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence, Set
from contextlib import suppress
from pathlib import Path, PurePosixPath

from syncd.errors import FileError, MailboxNameError
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.layout import Layout
from syncd.reconcile.removals import is_kept
from syncd.sync.device.attachment import Prove
from syncd.sync.device.known_mailboxes import Served


def is_absent(root: ReplicaRoot, one: Served, layout: Layout) -> bool:
    """Tell whether a replica has no directory, neither where it was nor where it follows its mailbox to."""
    directory = PurePosixPath(one.replica.directory)
    try:
        wanted = layout.directory(one.account, one.mailbox.name)
    except MailboxNameError:
        wanted = directory
    try:
        return root.lacks(directory) and root.lacks(wanted)
    except FileError:
        return False


def may_go(one: Served) -> bool:
    """Tell whether something follows when a directory is gone: its mailbox is removed, or it is made again.

    A device may remove a mailbox that was compared with its server, and that nobody relies on. Or one that its server
    had so short a time that nothing of it was read.
    """
    if one.replica.is_leaving:
        return False
    if is_unknown(one):
        return not one.mailbox.name.is_inbox
    if not (one.mailbox.is_listed or _came_and_went(one)):
        return False
    return not is_kept(one.mailbox.name, one.mailbox.special_use)


def is_unknown(one: Served) -> bool:
    """Tell whether nobody has looked at a mailbox since its directory may be another."""
    return one.replica.listed_at is None and not _came_and_went(one)


def _came_and_went(one: Served) -> bool:
    return not (one.mailbox.is_there or one.mailbox.is_listed)


def without_anchor(root: ReplicaRoot, served: Iterable[Served], gone: Set[int]) -> frozenset[int]:
    """Return the mailboxes of accounts whose INBOX is gone as well, or all where a device does not take that."""
    by_account: defaultdict[str, list[Served]] = defaultdict(list)
    for one in served:
        by_account[one.account].append(one)
    lost = [mine for mine in by_account.values() if any(one.mailbox.id in gone for one in mine)]
    return frozenset(one.mailbox.id for mine in lost if not _is_anchored(root, mine, gone) for one in mine)


def left_bare(path: Path, prove: Prove, served: Iterable[Served], removed: Container[int]) -> Sequence[Served]:
    """Return those of removed mailboxes whose directory is there as none of a mailbox, and those missing inside them.

    path, prove: the root of the device, and what proves it.
    """
    with ReplicaRoot(path) as root:
        prove(root)
        there = frozenset(root.directories())
        missing = {PurePosixPath(one.replica.directory): one for one in served}
        missing = {directory: one for directory, one in missing.items() if directory not in there}
        bare: list[PurePosixPath] = []
        for directory, one in missing.items():
            with suppress(FileError):
                if one.mailbox.id in removed and root.is_bare(directory) and not root.lacks(directory):
                    bare.append(directory)
        return [one for directory, one in missing.items() if any(map(directory.is_relative_to, bare))]


def _is_anchored(root: ReplicaRoot, mine: Iterable[Served], gone: Set[int]) -> bool:
    there = [one for one in mine if one.mailbox.id not in gone]
    anchors = [one for one in there if one.mailbox.name.is_inbox] or there
    for one in anchors:
        with suppress(FileError), root.mailbox(PurePosixPath(one.replica.directory)):
            return True
    return False
