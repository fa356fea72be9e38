"""Floor 3: directories of mailboxes as wholes: renamed with all that is in them, and removed when nothing is.

Theory. A directory that is renamed keeps its files, and a mail program that has one open keeps that. rename(2) takes
the place of no directory in which there is anything. A directory goes only without mail, and without a file that
nobody here has made; tmp/ goes first, so that no delivery begins meanwhile, and comes back if one was faster.
"""

import errno
import os
import re
import stat
from collections.abc import Sequence
from enum import Enum
from pathlib import PurePosixPath

from syncd.errors import FileError
from syncd.maildir.disk.files import CUR, NEW, SUBDIRS, TMP
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.system.failures import failing

_OURS = re.compile(r"dovecot-(?:keywords|uidlist)(?:\.lock)?|dovecot\.index[.\w]*|maildirfolder")
"""What we keep beside mail, and what a Dovecot over the replica makes anew from it."""
_IN_USE = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})


class Renaming(Enum):
    """What became of a directory.

    FOUND: it is not there, and one of the new name is. TAKEN: another one, which is not empty, has that name. REFUSED:
    the system does not do it, as for a directory that is a mount point.
    """

    DONE = "done"
    FOUND = "found"
    TAKEN = "taken"
    REFUSED = "refused"
    MISSING = "missing"


class Whereabouts(Enum):
    """What has which name of a directory that was about to be renamed: ONE_OF_BOTH is it, or none, where both are."""

    RENAMED = "renamed"
    STAYED = "stayed"
    ONE_OF_BOTH = "one of both"
    NOWHERE = "nowhere"


def rename_directory(root: ReplicaRoot, source: PurePosixPath, target: PurePosixPath) -> Renaming:
    """Rename a directory below the root, durably; an empty mailbox is no obstacle.

    An error leaves open whether it was done.
    """
    with failing("rename a mailbox directory"):
        old, new = _inode(root, source), _inode(root, target)
        if old is None:
            return Renaming.MISSING if new is None else Renaming.FOUND
        if not make_way(root, source, target):
            return Renaming.TAKEN
        try:
            root.make(target.parent)
        except FileError:
            return Renaming.REFUSED
        with root.opened(source.parent) as source_fd, root.opened(target.parent) as target_fd:
            try:
                os.rename(source.name, target.name, src_dir_fd=source_fd, dst_dir_fd=target_fd)
            except OSError as error:
                return Renaming.TAKEN if error.errno in _IN_USE else Renaming.REFUSED
            os.fsync(target_fd)
            os.fsync(source_fd)
    return Renaming.DONE


def make_way(root: ReplicaRoot, source: PurePosixPath, target: PurePosixPath) -> bool:
    """Remove an empty mailbox that has the new name of a directory; tell whether no other directory has it now."""
    with failing("look for a mailbox directory"):
        old, new = _inode(root, source), _inode(root, target)
    return new in {None, old} or remove_mailbox(root, target)


def whereabouts(root: ReplicaRoot, source: PurePosixPath, target: PurePosixPath) -> Whereabouts:
    """Tell which name a directory has that was about to be renamed, when none had the new one; FileError if unknown."""
    with failing("look for a mailbox directory"):
        old, new = _inode(root, source), _inode(root, target)
    if old is None:
        return Whereabouts.NOWHERE if new is None else Whereabouts.RENAMED
    return Whereabouts.STAYED if new in {None, old} else Whereabouts.ONE_OF_BOTH


def renamed_before(root: ReplicaRoot, source: PurePosixPath, target: PurePosixPath) -> Renaming | None:
    """Return FOUND or MISSING where nothing at all has the first name any more, else None; FileError if unknown."""
    if not root.is_absent(source):
        return None
    if root.is_absent(target):
        return Renaming.MISSING
    with failing("look for a mailbox directory"):
        return None if _inode(root, target) is None else Renaming.FOUND


def remove_mailbox(root: ReplicaRoot, directory: PurePosixPath) -> bool:
    """Remove the directory of a mailbox unless there is anything in it, and tell whether it is gone.

    What is inside it as a directory of its own stays, and so does the one around that, as a mailbox no more.
    """
    with failing("remove a mailbox directory"):
        try:
            with root.opened(directory) as fd:
                with os.scandir(fd) as entries:
                    inside = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
                others = {name: is_dir for name, is_dir in inside.items() if name not in SUBDIRS}
                if any(not is_dir and not _OURS.fullmatch(name) for name, is_dir in others.items()):
                    return False
                if not _remove_empty(fd, [name for name in (TMP, NEW, CUR) if name in inside]):
                    return False
                for name in (name for name, is_dir in others.items() if not is_dir):
                    os.unlink(name, dir_fd=fd)
            if not any(others.values()):
                with root.opened(directory.parent) as fd:
                    os.rmdir(directory.name, dir_fd=fd)
                    os.fsync(fd)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in _IN_USE:
                return False
            raise
    return True


def remove_empty_parents(root: ReplicaRoot, directory: PurePosixPath) -> None:
    """Remove the directories around one that is gone, below the root and as far as there is nothing in them."""
    with failing("remove a directory"):
        for each in (one for one in directory.parents if one.parts):
            try:
                with root.opened(each.parent) as fd:
                    os.rmdir(each.name, dir_fd=fd)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno in _IN_USE:
                    return
                raise


def are_same_directory(root: ReplicaRoot, one: PurePosixPath, other: PurePosixPath) -> bool:
    """Tell whether a disk takes two names for one, as those do that fold case, or the forms of Unicode."""
    with failing("examine a mailbox directory"):
        inode = _inode(root, one)
        return inode is not None and inode == _inode(root, other)


def _remove_empty(fd: int, names: Sequence[str]) -> bool:
    """Remove directories, all or none."""
    for count, name in enumerate(names):
        try:
            os.rmdir(name, dir_fd=fd)
        except OSError as error:
            if error.errno not in _IN_USE:
                raise
            for removed in names[:count]:
                os.mkdir(removed, 0o700, dir_fd=fd)
            return False
    return True


def _inode(root: ReplicaRoot, directory: PurePosixPath) -> tuple[int, int] | None:
    """Return which directory has a name, None when there is none or a link."""
    try:
        with root.opened(directory) as fd:
            found = os.fstat(fd)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None
