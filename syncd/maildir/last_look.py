"""Whether any name below a root came, went or changed since a look, by the times of directories and no other look.

Theory. Each name that comes, goes or changes gives its directory other times. They advance in ticks, so they tell that
nothing came after a look only if they were older than a tick before it. A directory that is listed, by whomever, keeps
them. Where a watch listens, and its silence lasts since before the look, or since before the times were last compared,
they need not be asked: but for what it does not hear of, as a list of keywords that is written under another name.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from syncd.maildir.dovecot import KEYWORDS
from syncd.maildir.files import CUR, NEW, SUBDIRS, Times, times_of
from syncd.maildir.mounts import is_shared
from syncd.maildir.observe import is_recent
from syncd.maildir.root import ReplicaRoot
from syncd.maildir.silence import Silence

_OF_A_MAILBOX = frozenset({CUR, NEW, KEYWORDS})
_Stamp = tuple[Times, int, int]
"""The times of a directory, or of a list of keywords, which may be written in place; and which inode of what it is."""
_Stamps = Mapping[str, _Stamp]


class LastLook:
    """Remember how a root was just before all of it was looked at; for the task that looks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_shared = False
        self._known: _Stamps | None = None
        self._since: Silence | None = None
        self._unheard: _Stamps = {}
        """What may be another than it is known to be though the silence lasts."""
        self._silence: Silence | None = None

    def begin_anew(self) -> None:
        """Forget, and find out whether times can be believed here."""
        self._known = None
        self._is_shared = is_shared(self._path)

    def forget(self) -> None:
        """Let the next look be a whole one: there is more to be seen than names."""
        self._known = None

    def hear(self, silence: Silence) -> None:
        """Take the newest silence of the root's watch, in whose thread this is called."""
        self._silence = silence

    def is_as_it_was(self, root: ReplicaRoot, prove: Callable[[ReplicaRoot], None]) -> bool:
        """Tell whether all names are as they were at the last look; if not, another one follows and is remembered.

        prove: raises what is the matter with a root; not asked again where nothing at all has happened in it.
        """
        silence = self._silence  # NOTE: before anything is looked at
        if self._known is not None and self._is_silent(root) and _are_unchanged(root, self._unheard):
            return True
        prove(root)
        is_as_it_was = self._known is not None and _are_unchanged(root, self._known)
        if not is_as_it_was:
            # NOTE: what a system remembers of directories that others change may be older than it seems.
            self._known = None if self._is_shared else _stamps(root)
        self._since, self._unheard = silence, self._not_heard_of(silence)
        return is_as_it_was

    def _is_silent(self, root: ReplicaRoot) -> bool:
        since = self._since
        return since is not None and since.place == root.place() and since.lasts()

    def _not_heard_of(self, silence: Silence | None) -> _Stamps:
        """Return what is known of that of which a silence says nothing: where another file system is, or no watch."""
        if silence is None or self._known is None:
            return {}
        device, _ = silence.place
        return {
            path: stamp
            for path, stamp in self._known.items()
            if stamp[-1] != device or f"{self._path}{path.removeprefix('.')}" not in silence.directories
        }


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
    return None if is_recent(at for times, *_ in found.values() for at in times) else found


def _stamp(root: ReplicaRoot, path: str) -> _Stamp:
    found = os.stat(path, dir_fd=root.fd, follow_symlinks=False)
    return times_of(found), found.st_ino, found.st_dev


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
