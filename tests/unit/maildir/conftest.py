"""Fixtures for the Maildir gateway: a device root on a real file system."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.maildir.disk.root import ReplicaRoot


@pytest.fixture
def root(tmp_path: Path) -> Iterator[ReplicaRoot]:
    path = tmp_path / "device"
    path.mkdir(mode=0o700)
    with ReplicaRoot(path) as opened:
        yield opened
