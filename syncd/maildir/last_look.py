"""Whether any name below a root came, went or changed since a look, by the times of directories and no other look.

Theory. Each name that comes, goes or changes gives its directory other times. They advance in ticks, so they tell that
nothing came after a look only if they were older than a tick before it. A directory that is listed, by whomever, keeps
them.
"""

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from syncd.maildir.dovecot import KEYWORDS
from syncd.maildir.files import CUR, NEW, SUBDIRS, Times, times_of
from syncd.maildir.mounts import is_shared
from syncd.maildir.observe import is_recent
from syncd.maildir.root import ReplicaRoot

_OF_A_MAILBOX = frozenset({CUR, NEW, KEYWORDS})
_Stamp = tuple[Times, int]
"""The times of a directory, or of a list of keywords, which may be written in place; and which inode it is."""


class LastLook:
    """Remember how a root was just before all of it was looked at; for the task that looks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_shared = False
        self._known: Mapping[str, _Stamp] | None = None

    def begin_anew(self) -> None:
        """Forget, and find out whether times can be believed here."""
        self._known = None
        self._is_shared = is_shared(self._path)

    def forget(self) -> None:
        """Let the next look be a whole one: there is more to be seen than names."""
        self._known = None

    def is_as_it_was(self, root: ReplicaRoot) -> bool:
        """Tell whether all names are as they were at the last look; if not, another one follows and is remembered."""
        if self._known is not None and _are_unchanged(root, self._known):
            return True
        # NOTE: what a system remembers of directories that others change may be older than it seems.
        self._known = None if self._is_shared else _stamps(root)
        return False


def _are_unchanged(root: ReplicaRoot, known: Mapping[str, _Stamp]) -> bool:
    try:
        return all(_stamp(root, path) == stamp for path, stamp in known.items())
    except OSError:
        return False


def _stamps(root: ReplicaRoot) -> Mapping[str, _Stamp] | None:
    """Return how a root is now; None when the next change, for it may come too soon, could leave it so."""
    found: dict[str, _Stamp] = {}
    pending = ["."]
    while pending:
        directory = pending.pop()
        try:
            # NOTE: before it is listed, so that what comes after that changes the stamp.
            found[directory] = _stamp(root, directory)
            for name in _inside(root, directory):
                path = f"{directory}/{name}"
                if name in _OF_A_MAILBOX:
                    found[path] = _stamp(root, path)
                else:
                    pending.append(path)
        except OSError:  # what cannot be looked at is left to the look that follows, which says where and why
            return None
    return None if is_recent(at for times, _ in found.values() for at in times) else found


def _stamp(root: ReplicaRoot, path: str) -> _Stamp:
    found = os.stat(path, dir_fd=root.fd, follow_symlinks=False)
    return times_of(found), found.st_ino


def _inside(root: ReplicaRoot, directory: str) -> list[str]:
    try:
        with root.opened(PurePosixPath(directory)) as fd, os.scandir(fd) as entries:
            return [entry.name for entry in entries if _counts(entry)]
    except PermissionError:
        return []  # no look sees what is in it, until its mode is another


def _counts(entry: "os.DirEntry[str]") -> bool:
    if entry.name in _OF_A_MAILBOX:
        return True
    return entry.name not in SUBDIRS and entry.is_dir(follow_symlinks=False)
