"""Servers run as somebody harmless who can reach what they need."""

import tempfile
from pathlib import Path

from tests.servers.identity import server_identity


def test_servers_never_run_as_root() -> None:
    """Dovecot and PostgreSQL refuse root, so root's tests use somebody else."""
    assert server_identity().uid != 0
    assert server_identity(preferred=("no-such-user",)) == server_identity()


def test_a_directory_below_a_closed_one_is_out_of_reach() -> None:
    """Whether a server could use a directory is known before it is started."""
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        top = Path(temporary)
        below = top / "below"
        below.mkdir()
        below.chmod(0o755)

        top.chmod(0o755)
        assert server_identity().can_reach(below)
        assert not server_identity().can_reach(below / "missing")
        top.chmod(0o000)
        assert not server_identity().can_reach(below)

        top.chmod(0o700)
