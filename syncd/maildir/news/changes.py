"""Floor 3: what a watch tells of a root: names of files and mailboxes that changed, and what events mean by that."""

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from syncd.mail.paths import path_of
from syncd.maildir.disk.dovecot import KEYWORDS
from syncd.maildir.disk.files import CUR, NEW, TMP
from syncd.maildir.news.observe import SeenFile
from syncd.maildir.system.inotify import CAME, IN_ISDIR, IN_MOVED_TO, WRITTEN, Event
from syncd.values import Value

_PENDING_MAX = 20_000


class ChangedFile(NamedTuple):
    """Name a file in cur/ or new/ of a mailbox directory that appeared, or that went, or was written.

    is_whole: it was put there from where nobody looks, as a program does with a message that it wrote (maildir(5)).
    """

    directory: PurePosixPath
    file: SeenFile
    is_gone: bool = False
    is_written: bool = False
    is_whole: bool = False


class Changes(Value):
    """Say what changed since the last: these files, all of these mailboxes or what is inside them, or anything.

    keyword_lists: the mailboxes in which letters may mean something else than before.
    """

    files: frozenset[ChangedFile] = frozenset()
    mailboxes: frozenset[PurePosixPath] = frozenset()
    keyword_lists: frozenset[PurePosixPath] = frozenset()
    is_overflow: bool = False

    def __bool__(self) -> bool:
        return bool(self.files or self.mailboxes or self.keyword_lists or self.is_overflow)

    def __or__(self, other: "Changes") -> "Changes":
        if self.is_overflow or other.is_overflow or len(self.files) + len(other.files) > _PENDING_MAX:
            return OVERFLOW
        return Changes(
            self.files | other.files, self.mailboxes | other.mailboxes, self.keyword_lists | other.keyword_lists
        )


NOTHING = Changes()
OVERFLOW = Changes(is_overflow=True)
"""List every mailbox."""


class Pending:
    """Gather changes until somebody takes them."""

    def __init__(self) -> None:
        self.pending = Changes()

    def add(self, changes: Changes) -> None:
        self.pending |= changes

    def take(self) -> Changes:
        taken, self.pending = self.pending, Changes()
        return taken


def changes_of(
    events: Iterable[Event],
    *,
    root: str,
    is_directory: Callable[[PurePosixPath], bool],
    is_heard: Callable[[PurePosixPath], bool],
    before: Changes = NOTHING,
) -> Changes:
    """Return what events below `root` mean; tmp/, dot names in cur/ and new/, and files elsewhere mean nothing.

    is_directory: asked of what appeared or went outside cur/ and new/. is_heard: tells whether a directory is watched.
    before: what the events before these meant, which may end in the middle of a rename.
    """
    files: set[ChangedFile] = set()
    mailboxes: set[PurePosixPath] = set()
    keyword_lists: set[PurePosixPath] = set()
    put: set[ChangedFile] = set()
    for directory, mask, name in events:
        if directory is None:
            return OVERFLOW
        relative = f"{directory}/{name}"[len(root) :].strip("/")
        head, _, filename = relative.rpartition("/")
        outer, _, subdir = head.rpartition("/")
        if not relative:
            if mask & WRITTEN:
                continue  # times and rights of the root itself
            return OVERFLOW
        if outer and subdir in {CUR, NEW}:
            if filename.startswith("."):
                continue
            mailbox = path_of(outer)
            if not _is_utf8(filename):
                mailboxes.add(mailbox)  # a listing says what is wrong with it
                continue
            is_gone, is_written = not mask & (CAME | WRITTEN), bool(mask & WRITTEN)
            changed = ChangedFile(mailbox, SeenFile.of(subdir, filename), is_gone, is_written)
            (put if mask & IN_MOVED_TO else files).add(changed)
        elif head and filename == KEYWORDS:
            keyword_lists.add(PurePosixPath(head))
        elif outer and subdir == TMP:
            continue
        elif mask & WRITTEN and not (mask & IN_ISDIR and not is_heard(PurePosixPath(relative))):
            continue  # but a directory of which nobody hears may be looked into by now
        elif head and filename in {CUR, NEW}:
            mailboxes.add(PurePosixPath(head))
        elif filename != TMP and is_directory(PurePosixPath(relative)):
            mailboxes.add(PurePosixPath(relative))
    # NOTE: these may be in the middle of their being written.
    renamed = {changed.file.name for changed in files.union(before.files) if changed.is_gone}
    is_all_known = not before.is_overflow
    files |= {changed._replace(is_whole=is_all_known and changed.file.name not in renamed) for changed in put}
    return Changes(frozenset(files), frozenset(mailboxes), frozenset(keyword_lists))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
