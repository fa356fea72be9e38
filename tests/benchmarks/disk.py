"""What a store and replicas take on the disk."""

import sqlite3
from pathlib import Path

_BLOCK_BYTES = 512  # of st_blocks, whatever the file system


def store_bytes(store: Path) -> int:
    """Return the size of a SQLite store after a checkpoint, which is done."""
    database = sqlite3.connect(store)
    try:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        database.close()
    return store.stat().st_size


def disk_bytes(*roots: Path) -> int:
    """Return what directories take on the disk, each file once however many names it has."""
    blocks: dict[tuple[int, int], int] = {}
    for root in roots:
        for path in (root, *root.rglob("*")):
            facts = path.lstat()
            blocks[facts.st_dev, facts.st_ino] = facts.st_blocks
    return _BLOCK_BYTES * sum(blocks.values())
