"""What a file may be is read the same, however large it is."""

from pathlib import Path, PurePosixPath

import pytest

from syncd.mail.message import facts_of
from syncd.maildir.disk.root import ReplicaRoot
from syncd.reconcile.changes import Sighting
from syncd.store.bodies.encoding import CHUNK_BYTES
from syncd.sync.device.contents import read_contents


@pytest.mark.parametrize("is_first", [True, False], ids=["first line", "other line"])
@pytest.mark.parametrize("size_bytes", [1, CHUNK_BYTES], ids=["small", "large"])
def test_line_of_mbsync_is_no_part_of_the_message(tmp_path: Path, size_bytes: int, is_first: bool) -> None:
    """Wherever it is in the header."""
    note, field, text = b"X-TUID: abcdefghijkl\n", b"Subject: a\n", b"\n" + b"x" * size_bytes
    octets = note + field + text if is_first else field + note + text
    for subdir in ("cur", "new", "tmp"):
        (tmp_path / "box" / subdir).mkdir(parents=True)
    path = tmp_path / "box" / "cur" / "1.2.host:2,"
    path.write_bytes(octets)
    seen = Sighting("1.2.host", "", "cur", frozenset(), len(octets), int(path.stat().st_mtime))

    with ReplicaRoot(tmp_path) as root:
        (content,) = read_contents(root, PurePosixPath("box"), [seen])

    assert content.untagged == facts_of([(field + text).replace(b"\n", b"\r\n")])
    assert [one.digest for one in content.identities] == [
        content.untagged.digest,
        content.wire.digest,
        content.raw.digest,
    ]
