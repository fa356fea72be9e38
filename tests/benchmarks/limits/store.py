"""What every limit program does with a batch: files and links, one transaction with the bodies, and one barrier.

The durable work is that of syncd: each body, compressed, and a row in one SQLite file, a Maildir file on the first
device and hard links on the others.
"""

import ctypes
import hashlib
import os
import queue
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from backports import zstd

BATCH_BYTES = 8 << 20
_WAITING_BATCHES = 2
_LEVEL = 1  # that of syncd
_TABLES = (
    "CREATE TABLE body (id INTEGER PRIMARY KEY, digest BLOB, octets BLOB)",
    "CREATE TABLE message (mailbox, uid INTEGER, flags, name, digest BLOB, PRIMARY KEY (mailbox, uid)) WITHOUT ROWID",
)
_libc = ctypes.CDLL(None, use_errno=True)
Message = tuple[str, int, str, bytes]
"""Its mailbox, its UID there, the letters of its flags, and its octets."""


class Disk:
    """One SQLite file, and a Maildir tree for each device; to be used by one thread."""

    def __init__(self, directory: str, roots: Sequence[str], mailboxes: Iterable[str]) -> None:
        self._roots = roots
        self._names: dict[tuple[str, int], str] = {}
        for mailbox in mailboxes:
            for root in roots:
                for subdir in ("tmp", "new", "cur"):
                    (Path(root) / mailbox / subdir).mkdir(parents=True)
        self._database = sqlite3.connect(Path(directory) / "limit.db", isolation_level=None)
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", *_TABLES):
            self._database.execute(statement)
        self._device = os.open(roots[0], os.O_RDONLY)
        self._compressor = zstd.ZstdCompressor(_LEVEL)

    def write(
        self, new: Iterable[Message], flagged: Iterable[tuple[str, int, str]] = (), gone: Iterable[tuple[str, int]] = ()
    ) -> None:
        """Make messages, changed flags and removals durable; what is not here is not changed."""
        bodies, rows = [], []
        for mailbox, uid, flags, octets in new:
            digest = hashlib.sha256(octets).digest()
            name = self._deliver(mailbox, uid, flags, octets)
            bodies.append((digest, self._compressor.compress(octets, zstd.ZstdCompressor.FLUSH_FRAME)))
            rows.append((mailbox, uid, flags, name, digest))
        renamed = [
            (flags, self._rename(mailbox, uid, flags), mailbox, uid)
            for mailbox, uid, flags in flagged
            if (mailbox, uid) in self._names
        ]
        removed = [(mailbox, uid) for mailbox, uid in gone if self._remove(mailbox, uid)]
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("INSERT INTO body (digest, octets) VALUES (?, ?)", bodies)
        self._database.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?)", rows)
        self._database.executemany("UPDATE message SET flags = ?, name = ? WHERE mailbox = ? AND uid = ?", renamed)
        self._database.executemany("DELETE FROM message WHERE mailbox = ? AND uid = ?", removed)
        self._database.execute("COMMIT")
        if _libc.syncfs(self._device) != 0:
            raise OSError(ctypes.get_errno(), "syncfs")

    def _deliver(self, mailbox: str, uid: int, flags: str, octets: bytes) -> str:
        file_octets = octets.replace(b"\r\n", b"\n")
        name = f"{uid}.limit,S={len(file_octets)},W={len(octets)}:2,{flags}"
        first, temporary = f"{self._roots[0]}/{mailbox}/cur/{name}", f"{self._roots[0]}/{mailbox}/tmp/{uid}"
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(file, file_octets)
        os.close(file)
        _rename(temporary, first)
        for root in self._roots[1:]:
            os.link(first, f"{root}/{mailbox}/cur/{name}")
        self._names[mailbox, uid] = name
        return name

    def _rename(self, mailbox: str, uid: int, flags: str) -> str:
        before = self._names[mailbox, uid]
        name = self._names[mailbox, uid] = f"{before.partition(':')[0]}:2,{flags}"
        for root in self._roots:
            _rename(f"{root}/{mailbox}/cur/{before}", f"{root}/{mailbox}/cur/{name}")
        return name

    def _remove(self, mailbox: str, uid: int) -> bool:
        name = self._names.pop((mailbox, uid), None)
        if name is not None:
            for root in self._roots:
                os.unlink(f"{root}/{mailbox}/cur/{name}")  # noqa: PTH108 - the least that does it
        return name is not None


class Intake:
    """Take messages, which a second thread makes durable in batches; leaving waits until all are."""

    def __init__(self, directory: str, roots: Sequence[str], mailboxes: Sequence[str]) -> None:
        self._place = directory, roots, mailboxes
        self._batch: list[Message] = []
        self._bytes = 0
        self._batches: queue.Queue[list[Message]] = queue.Queue(_WAITING_BATCHES)
        self._thread = threading.Thread(target=self._write_all)
        self._error: BaseException | None = None

    def __enter__(self) -> "Intake":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._batches.put([])
        self._thread.join()
        if self._error is not None:
            raise self._error

    def add(self, message: Message) -> None:
        """Take a message."""
        self._batch.append(message)
        self._bytes += len(message[3])
        if self._bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._batch:
            self._batches.put(self._batch)
            self._batch, self._bytes = [], 0

    def _write_all(self) -> None:
        try:
            disk = Disk(*self._place)
            while batch := self._batches.get():
                disk.write(batch)
        except BaseException as error:
            self._error = error
            while self._batches.get():
                pass


def _rename(before: str, after: str) -> None:
    os.rename(before, after)  # noqa: PTH104 - the least that does it
