"""The marker of a device root: written at once, read with suspicion, compared with the store."""

import os
import stat
from pathlib import Path

import pytest

from syncd.maildir.disk.marker import Marker, MarkerFault, Standing, is_empty, read_marker, standing, write_marker
from syncd.maildir.disk.root import ReplicaRoot

MINE = Marker(device="laptop", store="0d9e", generation=7)


def test_marker_comes_back_private_and_replaces_the_old_one(root: ReplicaRoot) -> None:
    """One file of mode 0600, nothing else left behind."""
    write_marker(root, Marker("laptop", "0d9e", 6))
    (root.path / ".syncd~").write_bytes(b"torn attempt")
    write_marker(root, MINE)

    assert read_marker(root) == MINE
    assert [path.name for path in root.path.iterdir()] == [".syncd"]
    assert stat.S_IMODE((root.path / ".syncd").stat().st_mode) == 0o600


def test_root_with_nothing_but_lost_and_found_is_empty(root: ReplicaRoot) -> None:
    """A fresh file system counts as empty, and so does a first marker that was not finished; the smallest file not."""
    assert is_empty(root)
    (root.path / "lost+found").mkdir()
    (root.path / ".syncd~").touch()
    assert is_empty(root)

    (root.path / ".x").touch()
    assert not is_empty(root)


def test_root_without_marker_says_so(root: ReplicaRoot) -> None:
    """No marker is a typed answer, for an unmounted disk looks like that."""
    assert read_marker(root) is MarkerFault.MISSING


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b'{"device":"laptop","store":"0d9e","generation":7}',
        b'{"format":2,"device":"laptop","store":"0d9e","generation":7}',
        b'{"format":1,"device":"laptop","store":"0d9e","generation":"7"}',
        b'{"format":1,"device":"laptop","store":"0d9e","generation":-1}',
        b'{"format":1,"device":null,"store":"0d9e","generation":7}',
    ],
)
def test_marker_that_is_none_is_malformed(root: ReplicaRoot, octets: bytes) -> None:
    """Whatever stands in the file, it proves nothing unless it is whole and of our format."""
    (root.path / ".syncd").write_bytes(octets)

    assert read_marker(root) is MarkerFault.MALFORMED


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_marker_that_is_no_file_is_not_read(root: ReplicaRoot, tmp_path: Path, kind: str) -> None:
    """A planted link is not followed and a FIFO does not hang the daemon."""
    path = root.path / ".syncd"
    if kind == "link":
        with ReplicaRoot(tmp_path) as elsewhere:
            write_marker(elsewhere, MINE)
        path.symlink_to(tmp_path / ".syncd")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()

    assert read_marker(root) is MarkerFault.MALFORMED


@pytest.mark.parametrize(
    ("found", "reserved", "expected"),
    [
        (MINE, None, Standing.KNOWN),
        (Marker("laptop", "0d9e", 8), 8, Standing.KNOWN),
        (Marker("laptop", "0d9e", 8), None, Standing.NEWER),
        (Marker("laptop", "0d9e", 9), 8, Standing.NEWER),
        (Marker("laptop", "0d9e", 6), 8, Standing.OLDER),
        (Marker("phone", "0d9e", 7), None, Standing.FOREIGN),
        (Marker("laptop", "ffff", 7), None, Standing.FOREIGN),
        (MarkerFault.MISSING, None, Standing.MISSING),
        (MarkerFault.MALFORMED, None, Standing.MALFORMED),
    ],
)
def test_standing_tells_backups_and_strangers(
    found: Marker | MarkerFault, reserved: int | None, expected: Standing
) -> None:
    """Restored replica, restored store and another's replica are told apart; a crash at a barrier is none of them."""
    assert standing(found, MINE, reserved_generation=reserved) is expected
