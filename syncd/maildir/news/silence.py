"""Floor 3: whether nothing has happened in the directories of a root since a moment, told at once by the watch.

Theory. The kernel queues an event before the call that makes the change returns. The watch, in its own thread, ends the
silence before it takes events from the queue, and lets another begin once it has handed them on and listens to all
there is. So if the queue is empty, and then the silence is not over, nothing has happened since it began. A queue does
not tell of what is mounted over directories; the table of mounts does. A silence that is over never lasts again: a
watch that is made anew begins another.
"""

import os
import select
import threading

from syncd.maildir.system.mounts import MOUNTS


class Ear:
    """Know whether anything happened that a watch has yet to hear of; close it."""

    def __init__(self, queue_fd: int) -> None:
        """Take the descriptor of the queue of events."""
        self.mounts = 0
        """How often it was heard that anything was mounted."""
        self._lock = threading.Lock()  # the watch listens as well as who asks, and a poll is of one thread
        self._poll = select.poll()
        self._poll.register(queue_fd, select.POLLIN)
        try:
            self._mounts_fd = os.open(MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._mounts_fd = -1
        else:
            self._poll.register(self._mounts_fd, select.POLLPRI)

    def hears_nothing(self) -> bool:
        """Tell whether the queue is empty, and nothing was mounted since the last call; no, where that is not told."""
        if self._mounts_fd < 0:
            return False
        with self._lock:
            heard = [fd for fd, _ in self._poll.poll(0)]
            self.mounts += self._mounts_fd in heard
        return not heard

    def close(self) -> None:
        fd, self._mounts_fd = self._mounts_fd, -1
        if fd >= 0:
            os.close(fd)


class Silence:
    """Be the time in which nothing happens in some directories; for one who asks, and the watch that ends it."""

    def __init__(self, ear: Ear, *, place: tuple[int, int], directories: frozenset[str]) -> None:
        """Begin one in directories of a root; place: the file system of that, and which directory of it that is."""
        self._ear, self._mounts = ear, ear.mounts
        self.place = place
        self.directories = directories
        self.is_over = False

    def follows(self, other: "Silence") -> bool:
        """Tell whether the watch of both has heard, and handed on, all that happened in their directories between them.

        It has not where anything was mounted since, over one of them for all it knows.
        """
        return self._ear is other._ear and self._mounts == other._mounts

    def end(self) -> None:
        """End it; call it before anything is taken from the queue, and before that is closed."""
        self.is_over = True

    def lasts(self) -> bool:
        """Tell whether nothing has happened since it began; else it is over."""
        # NOTE: in this order: what is in the queue no more was taken from there after the end of the silence. Where the
        # descriptors are closed, and their numbers those of other files, it is over as well.
        if not self._ear.hears_nothing():
            self.end()
        return not self.is_over
