"""Floor 3: noticing changes without inotify: by three times of a mailbox, not by looking at every file."""

from pathlib import Path, PurePosixPath

from syncd.errors import FileError
from syncd.maildir.disk.dovecot import keywords_changed_ns
from syncd.maildir.disk.files import CUR, NEW, Times
from syncd.maildir.disk.root import ReplicaRoot

_Times = dict[PurePosixPath, tuple[Times, Times, Times]]


class Sweep:
    """Compare the mailbox directories of a root with how they were at the sweep before.

    A file that comes, goes or is renamed changes the times of its directory; an edit in place does not, and is left
    to full listings. What letters mean is in a file of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._times: _Times = {}
        self._changed: frozenset[PurePosixPath] = frozenset()

    def changed(self) -> frozenset[PurePosixPath]:
        """Return the mailboxes to be listed: all at the first call; DeviceAwayError when the root is not there."""
        times = self._look()
        changed = frozenset(directory for directory in times | self._times if self._differs(directory, times))
        # NOTE: times are coarse: a second change within the same tick as a sweep leaves no trace at the next one,
        # so what changed is reported at the sweep after as well.
        reported = changed | self._changed
        self._times, self._changed = times, changed
        return reported

    def _differs(self, directory: PurePosixPath, times: _Times) -> bool:
        return times.get(directory) != self._times.get(directory)

    def _look(self) -> _Times:
        times: _Times = {}
        with ReplicaRoot(self._path) as root:
            for directory in root.directories():
                try:
                    with root.mailbox(directory) as mailbox:
                        times[directory] = (
                            mailbox.changed_ns(NEW),
                            mailbox.changed_ns(CUR),
                            keywords_changed_ns(mailbox),
                        )
                except FileError:
                    # Half a mailbox, or gone again: the listing that follows a change says what is wrong with it.
                    continue
        return times
