"""Floor 4: what follows when a mailbox of a device has no directory any more: it is removed, made again, or nothing."""

from collections import defaultdict
from collections.abc import Iterable, Set
from contextlib import suppress
from pathlib import PurePosixPath

from syncd.errors import FileError
from syncd.maildir.root import ReplicaRoot
from syncd.reconcile.removals import is_kept
from syncd.sync.known_mailboxes import Served


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


def _is_anchored(root: ReplicaRoot, mine: Iterable[Served], gone: Set[int]) -> bool:
    there = [one for one in mine if one.mailbox.id not in gone]
    anchors = [one for one in there if one.mailbox.name.is_inbox] or there
    for one in anchors:
        with suppress(FileError), root.mailbox(PurePosixPath(one.replica.directory)):
            return True
    return False
