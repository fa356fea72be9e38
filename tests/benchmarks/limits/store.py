"""What every limit program does with a batch: files and links, one barrier, and one transaction with the bodies.

The durable work is that of syncd: each body, compressed, and a row in one SQLite file, a Maildir file on the first
device and hard links on the others. It is done by a second thread, while the first one reads from the server.
"""

import ctypes
import hashlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from backports import zstd

BATCH_BYTES = 8 << 20
_WAITING_BATCHES = 2
_LEVEL = 3
_libc = ctypes.CDLL(None, use_errno=True)
Message = tuple[str, int, str, bytes]
"""Its mailbox, its number there, the letters of its flags, and its octets."""


class Store:
    """Take messages; entering starts the thread that writes, leaving waits until all is durable."""

    def __init__(self, directory: str, roots: Sequence[str], mailboxes: Sequence[str]) -> None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._roots = roots
        self._batch: list[Message] = []
        self._bytes = 0
        self._batches: queue.Queue[list[Message]] = queue.Queue(_WAITING_BATCHES)
        self._thread = threading.Thread(target=self._write_all)
        self._error: BaseException | None = None
        for mailbox in mailboxes:
            for root in roots:
                for subdir in ("tmp", "new", "cur"):
                    (Path(root) / mailbox / subdir).mkdir(parents=True)

    def __enter__(self) -> "Store":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._batches.put([])
        self._thread.join()
        if self._error is not None:
            raise self._error

    def add(self, message: Message) -> None:
        """Take a message; it is durable when left."""
        self._batch.append(message)
        self._bytes += len(message[3])
        if self._bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what there is."""
        if self._batch:
            self._batches.put(self._batch)
            self._batch, self._bytes = [], 0

    def _write_all(self) -> None:
        try:
            database = sqlite3.connect(Path(self._directory) / "limit.db", isolation_level=None)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("CREATE TABLE IF NOT EXISTS body (id INTEGER PRIMARY KEY, digest BLOB, octets BLOB)")
            database.execute("CREATE TABLE IF NOT EXISTS message (mailbox, uid INTEGER, flags, name, digest BLOB)")
            device = os.open(self._roots[0], os.O_RDONLY)
            compress = zstd.ZstdCompressor(_LEVEL).compress
            while batch := self._batches.get():
                self._write(batch, database, compress)
                if _libc.syncfs(device) != 0:
                    raise OSError(ctypes.get_errno(), "syncfs")
            database.close()
        except BaseException as error:
            self._error = error
            while self._batches.get():
                pass

    def _write(self, batch: list[Message], database: sqlite3.Connection, compress: Callable[..., bytes]) -> None:
        bodies, rows = [], []
        for mailbox, uid, flags, octets in batch:
            digest = hashlib.sha256(octets).digest()
            file_octets = octets.replace(b"\r\n", b"\n")
            name = f"{uid}.limit,S={len(file_octets)},W={len(octets)}:2,{flags}"
            first = f"{self._roots[0]}/{mailbox}/cur/{name}"
            temporary = f"{self._roots[0]}/{mailbox}/tmp/{uid}"
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(file, file_octets)
            os.close(file)
            os.rename(temporary, first)  # noqa: PTH104 - the least that does it
            for root in self._roots[1:]:
                os.link(first, f"{root}/{mailbox}/cur/{name}")
            bodies.append((digest, compress(octets, zstd.ZstdCompressor.FLUSH_FRAME)))
            rows.append((mailbox, uid, flags, name, digest))
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO body (digest, octets) VALUES (?, ?)", bodies)
        database.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?)", rows)
        database.execute("COMMIT")
