"""Floor 3: whether any name below a root came, went or changed since a look, by the times of directories alone.

Theory. Each name that comes, goes or changes gives its directory other times. They advance in ticks, so they tell that
nothing came after a look only if they were older than a tick before it. A directory that is listed, by whomever, keeps
them. Where a watch listens, and its silence lasts since before the look, or since before the times were last compared,
they need not be asked: but for what it does not hear of, as a list of keywords that is written under another name.
"""

import os
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path

from syncd.mail.paths import path_of
from syncd.maildir.disk.dovecot import KEYWORDS
from syncd.maildir.disk.files import CUR, NEW, SUBDIRS, Times, times_of
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.news.observe import is_recent
from syncd.maildir.news.silence import Silence
from syncd.maildir.system.mounts import is_shared

_OF_A_MAILBOX = frozenset({CUR, NEW, KEYWORDS})
_Stamp = tuple[Times, int, int]
"""The times of a directory, or of a list of keywords, which may be written in place; and which inode of what it is."""
_Stamps = Mapping[str, _Stamp]


class Since(Enum):
    """Say what happened to a root since it was looked at: nothing, what its watch tells of, or who knows what."""

    NOTHING = "nothing"
    TOLD = "told"
    UNKNOWN = "unknown"


class LastLook:
    """Remember how a root was just before all of it was looked at; for the task that looks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_shared = False
        self._known: _Stamps | None = None
        self._since: Silence | None = None
        """The silence in which the last look began, or the last that ended before it."""
        self._unheard: _Stamps = {}
        """What may be another than it is known to be though its watch tells of nothing."""
        self._silence: Silence | None = None

    def begin_anew(self) -> None:
        """Forget, and find out whether times can be believed here."""
        self.forget()
        self._is_shared = is_shared(self._path)

    def forget(self) -> None:
        """Let the next look be a whole one: there is more to be seen than names."""
        self._known, self._since = None, None

    def hear(self, silence: Silence) -> None:
        """Take the newest silence of the root's watch, once all has been taken that the watch told before."""
        self._silence = silence

    @property
    def is_all_told(self) -> bool:
        """Tell whether the watch has told of all that happened until now in the directories of the last look."""
        silence = self._silence
        return silence is not None and self._has_told_since(silence) and silence.lasts()

    def is_silent(self) -> bool:
        """Tell whether the watch is sure that nothing at all has happened since the last look, as `compare` would.

        NOTE: it asks nothing of a disk but which directory the root is, and that only where its file system is of this
        machine: who asks in the event loop keeps nobody waiting, and a way to a thread costs many times as much.
        """
        since = self._since
        if since is None or self._unheard:
            return False
        try:
            found = self._path.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == since.place and since.lasts()

    def compare(self, root: ReplicaRoot, prove: Callable[[ReplicaRoot], None]) -> Since:
        """Tell what happened since the last look; of all that, another look follows, and is remembered.

        prove: raises what is the matter with a root; not asked again where nothing at all has happened in it. TOLD is
        all that happened only once it `is_all_told`.
        """
        silence = self._silence  # NOTE: before anything is looked at
        since = self._since if self._is_heard(root) else None
        if since is not None and since.lasts():
            return Since.NOTHING
        prove(root)
        if self._known is not None and _are_same(root, self._known):
            self._since, self._unheard = silence, self._not_heard_of(silence, self._known)
            # NOTE: what is written in place changes no times; of that, and of more, the watch may be about to tell.
            return Since.NOTHING if silence is None or silence.lasts() else Since.TOLD
        if since is not None and silence is not None and self._has_told_since(silence):
            self._known, self._since = None, silence
            return Since.TOLD
        # NOTE: what a system remembers of directories that others change may be older than it seems.
        stamps = None if self._is_shared else _stamps(root)
        self._known = None if stamps is None or _are_recent(stamps) else stamps
        self._unheard = self._not_heard_of(silence, stamps or {})
        self._since = None if stamps is None or _are_recent(self._unheard) else silence
        return Since.UNKNOWN

    def _is_heard(self, root: ReplicaRoot) -> bool:
        """Tell whether what happened in a root since the last look is heard by its watch, but for what never is."""
        since = self._since
        return since is not None and since.place == root.place() and _are_same(root, self._unheard)

    def _has_told_since(self, silence: Silence) -> bool:
        """Tell whether all that happened between the last look and this silence was told."""
        return self._since is not None and silence.follows(self._since)

    def _not_heard_of(self, silence: Silence | None, stamps: _Stamps) -> _Stamps:
        """Return what of a root a silence says nothing about: where another file system is, or no watch."""
        if silence is None:
            return {}
        device, _ = silence.place
        return {
            path: stamp
            for path, stamp in stamps.items()
            if stamp[-1] != device or f"{self._path}{path.removeprefix('.')}" not in silence.directories
        }


def _are_same(root: ReplicaRoot, known: Mapping[str, _Stamp]) -> bool:
    try:
        return all(_stamp(root, path) == stamp for path, stamp in known.items())
    except OSError:
        return False


def _stamps(root: ReplicaRoot) -> Mapping[str, _Stamp] | None:
    """Return how a root is now; None where that cannot be seen."""
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
    return found


def _are_recent(stamps: _Stamps) -> bool:
    """Tell whether the next change, for it may come too soon, could leave a root as it is by its stamps."""
    return is_recent(at for times, *_ in stamps.values() for at in times)


def _stamp(root: ReplicaRoot, path: str) -> _Stamp:
    found = os.stat(path, dir_fd=root.fd, follow_symlinks=False)
    return times_of(found), found.st_ino, found.st_dev


def _inside(root: ReplicaRoot, directory: str) -> list[str]:
    try:
        with root.opened(path_of(directory)) as fd, os.scandir(fd) as entries:
            return [entry.name for entry in entries if _counts(entry)]
    except PermissionError:
        return []  # no look sees what is in it, until its mode is another


def _counts(entry: "os.DirEntry[str]") -> bool:
    if entry.name in _OF_A_MAILBOX:
        return True
    return entry.name not in SUBDIRS and entry.is_dir(follow_symlinks=False)
