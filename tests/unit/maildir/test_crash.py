"""Processes that are killed, cut short or cramped in the middle of a delivery."""

import stat
import subprocess
import sys
import textwrap
from pathlib import PurePosixPath

import pytest

from syncd.maildir.disk.root import ReplicaRoot
from tests.unit.maildir.builders import DATE, names_in

_CHILD = """
    import os, resource, signal, sys
    from pathlib import Path, PurePosixPath
    from syncd.maildir.naming.keywords import EMPTY
    from syncd.maildir.effects.perform import Deliver, perform
    from syncd.maildir.disk.root import ReplicaRoot

    def body():
        yield b"x" * 4096
        if sys.argv[2] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        yield b"x" * 61440

    if sys.argv[2] == "limit":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
    os.umask(int(sys.argv[3], 8))
    name = "1.R0123456789abcdef.syncd,S=65536,W=65536"
    with ReplicaRoot(Path(sys.argv[1])) as root:
        root.create(PurePosixPath(".work.Made")).close()
        effect = Deliver(PurePosixPath(".work.Made"), name, frozenset(), 1, 65536, body)
        print(perform(root, [effect], keywords=lambda _: EMPTY))
"""


def _child(root: ReplicaRoot, how: str, umask: str = "022") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_CHILD), str(root.path), how, umask],
        capture_output=True,
        text=True,
        timeout=60,
    )


MADE = PurePosixPath(".work.Made")


def test_short_write_fails_the_message_and_leaves_nothing(root: ReplicaRoot) -> None:
    """A file that the system cuts short in the middle (RLIMIT_FSIZE) is no message and no litter."""
    ended = _child(root, "limit")

    assert "Failed(error=FileError('cannot write a message: EFBIG (file too large)'))" in ended.stdout, ended.stderr
    assert names_in(root, MADE) == {"new": [], "cur": [], "tmp": []}


def test_kill_in_the_middle_of_a_delivery_leaves_only_litter_that_is_cleaned(root: ReplicaRoot) -> None:
    """Nothing partial becomes visible in new/ or cur/, and the next start removes our own leftovers from tmp/."""
    ended = _child(root, "kill")
    before = names_in(root, MADE)
    with root.mailbox(MADE) as directory:
        count = directory.clean_tmp(now_s=DATE)

    assert ended.returncode == -9
    assert before == {"new": [], "cur": [], "tmp": ["1.R0123456789abcdef.syncd,S=65536,W=65536"]}
    assert (count, names_in(root, MADE)["tmp"]) == (1, [])


_FULL = """
    import os, sys
    from pathlib import Path, PurePosixPath
    from syncd.maildir.naming.keywords import EMPTY
    from syncd.maildir.effects.perform import Deliver, perform
    from syncd.maildir.disk.root import ReplicaRoot

    def effect(number, size):
        name = f"1.R000000000000000{number}.syncd,S={size},W={size}"
        return Deliver(PurePosixPath("a"), name, frozenset(), 1, size, lambda: [b"x" * size])

    with ReplicaRoot(Path(sys.argv[1])) as root:
        root.create(PurePosixPath("a")).close()
        for effects in ([effect(1, 100_000), effect(2, 9_000_000), effect(3, 1)], [effect(3, 1)]):
            for outcome in perform(root, effects, keywords=lambda _: EMPTY):
                print(type(outcome).__name__, getattr(outcome, "error", ""))
        print([len(os.listdir(root.path / "a" / subdir)) for subdir in ("new", "cur", "tmp")])
"""


def test_full_disk_stops_the_batch_and_leaves_no_half_file(root: ReplicaRoot) -> None:
    """Without space nothing partial stays, the rest of the batch waits, and what fits later is delivered."""
    in_namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    mount = f"mount -t tmpfs -o size=1m none '{root.path}'"
    try:
        subprocess.run([*in_namespace, mount], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no mount namespace can be made here, in which to have a small disk")

    program = [sys.executable, "-c", textwrap.dedent(_FULL), str(root.path)]
    ended = subprocess.run(
        [*in_namespace, f'{mount}; exec "$0" "$@"', *program], capture_output=True, text=True, timeout=60
    )

    full = "Failed cannot write a message: ENOSPC (no space left on device)"
    assert ended.stdout.splitlines() == ["Done ", full, full, "Done ", "[2, 0, 0]"], ended.stderr


@pytest.mark.parametrize("umask", ["000", "022", "777"])
def test_modes_are_private_whatever_the_umask(root: ReplicaRoot, umask: str) -> None:
    """Directories 0700 and files 0600, neither less nor more."""
    ended = _child(root, "live", umask)

    modes = {path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in (root.path / MADE).rglob("*")}
    assert "Done" in ended.stdout, ended.stderr
    assert modes == {True: 0o700, False: 0o600}
    assert stat.S_IMODE((root.path / MADE).stat().st_mode) == 0o700
