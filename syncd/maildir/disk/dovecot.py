"""Floor 3: files that a Dovecot over the replica shares with us: `dovecot-keywords`, the letters of a mailbox.

Theory. Dovecot reads one `number name` per line and guards the file by `dovecot-uidlist.lock`. Under that lock we read
the file again, add our keywords after the last, and put the result in its place at once, so that entries of either
side survive. A lock whose owner died, or that is older than two minutes, is broken, as Dovecot does.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath

from syncd.errors import FileError, Reach, Temper
from syncd.log import log
from syncd.maildir.disk.files import MailboxDirectory, Times, times_of
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.naming.names import unlisted_keywords
from syncd.maildir.system.failures import failing

KEYWORDS = "dovecot-keywords"
_TEMPORARY = "dovecot-keywords.lock"
_LOCK = "dovecot-uidlist.lock"
_STALE_S = 120
_TRY_AGAIN_S = 0.02


def parse_keywords(octets: bytes) -> KeywordMap:
    """Return the entries of a `dovecot-keywords`; lines that are none are skipped, of one number the last counts."""
    entries: dict[int, str] = {}
    for line in octets.decode("utf-8", "surrogateescape").split("\n"):
        number, space, name = line.partition(" ")
        if space and name and number.isascii() and number.isdecimal() and len(number) < 10:
            entries[int(number)] = name
    return KeywordMap(tuple(sorted(entries.items())))


def format_keywords(keywords: KeywordMap) -> bytes:
    """Return the text of a `dovecot-keywords`."""
    text = "".join(f"{number} {name}\n" for number, name in keywords.entries)
    return text.encode("utf-8", "surrogateescape")


def read_keywords(root: ReplicaRoot, directory: PurePosixPath) -> KeywordMap:
    """Return the keywords of a mailbox directory, none when there is no file."""
    return parse_keywords(root.read_control(directory, KEYWORDS) or b"")


def keywords_changed_ns(mailbox: MailboxDirectory) -> Times:
    """Return the times of the list of keywords, 0 when there is none."""
    with failing("examine a control file"):
        try:
            return times_of(os.stat(KEYWORDS, dir_fd=mailbox.fd, follow_symlinks=False))
        except FileNotFoundError:
            return 0, 0


def read_keywords_ever_given(root: ReplicaRoot, directory: PurePosixPath, *, known: KeywordMap) -> KeywordMap:
    """Return the letters that are listed, with those known before, which are listed again if that is possible."""
    found = read_keywords(root, directory)
    whole = known.merged(found)
    if whole == found:
        return found
    try:
        return restore_keywords(root, directory, known=known)
    except FileError as error:
        log.warning("keywords_not_restored", replica=str(directory), error=str(error))
        return whole


def restore_keywords(
    root: ReplicaRoot, directory: PurePosixPath, *, known: KeywordMap, lock_timeout_s: float = 2.0
) -> KeywordMap:
    """Put back the entries of `known` that the file lost, and return the map as it is on disk.

    Those whose number Dovecot gave away stay lost.
    """
    return _write_keywords(root, directory, (), known=known, lock_timeout_s=lock_timeout_s)


def ensure_keywords(
    root: ReplicaRoot,
    directory: PurePosixPath,
    flags: Iterable[str],
    *,
    known: KeywordMap,
    lock_timeout_s: float = 2.0,
) -> KeywordMap:
    """Give every keyword among `flags` a letter, as long as there are letters, and return the map as it is on disk.

    known: what was read or returned before; nothing is touched when it has them all. Entries of it that the
    file lost come back, unless Dovecot gave their number away.
    """
    wished = unlisted_keywords(flags, known)
    if known.is_full or not wished:
        return known
    return _write_keywords(root, directory, wished, known=known, lock_timeout_s=lock_timeout_s)


def _write_keywords(
    root: ReplicaRoot, directory: PurePosixPath, wished: Iterable[str], *, known: KeywordMap, lock_timeout_s: float
) -> KeywordMap:
    with _locked(root, directory, lock_timeout_s):
        found = read_keywords(root, directory)
        wanted = known.merged(found)
        for keyword in unlisted_keywords(wished, wanted):
            given = wanted.with_keyword(keyword)
            if given is None:
                break
            wanted = given[0]
        if wanted != found:
            root.write_control(directory, KEYWORDS, format_keywords(wanted), temporary=_TEMPORARY)
        return wanted


@contextmanager
def _locked(root: ReplicaRoot, directory: PurePosixPath, timeout_s: float) -> Iterator[None]:
    """Hold Dovecot's lock of a mailbox directory; FileError that reaches the mailbox when it stays taken."""
    deadline = time.monotonic() + timeout_s
    with root.mailbox(directory) as mailbox, failing("lock a mailbox directory"):
        owner = f"{os.getpid()}:{socket.gethostname()}"
        while not _take(mailbox.fd, owner):
            _break_stale(mailbox.fd)
            if time.monotonic() > deadline:
                raise FileError("another program holds dovecot-uidlist.lock", reach=Reach.MAILBOX, temper=Temper.RETRY)
            time.sleep(_TRY_AGAIN_S)
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                os.unlink(_LOCK, dir_fd=mailbox.fd)


def _take(directory_fd: int, owner: str) -> bool:
    try:
        fd = os.open(_LOCK, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory_fd)
    except FileExistsError:
        return False
    try:
        os.write(fd, owner.encode())
    finally:
        os.close(fd)
    return True


def _break_stale(directory_fd: int) -> None:
    try:
        found = os.stat(_LOCK, dir_fd=directory_fd, follow_symlinks=False)
        if time.time() - found.st_mtime > _STALE_S or _is_owner_dead(directory_fd):
            os.unlink(_LOCK, dir_fd=directory_fd)
    except FileNotFoundError:
        return


def _is_owner_dead(directory_fd: int) -> bool:
    fd = os.open(_LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        pid, _, host = os.read(fd, 1024).decode("utf-8", "replace").partition(":")
    finally:
        os.close(fd)
    if host.strip() != socket.gethostname() or not (pid.isascii() and pid.isdecimal()):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
