"""Owning a store: who may use its files, and what a second owner is told."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from syncd.errors import StoreBusyError, StoreError
from syncd.store.engine.database import Database
from syncd.store.engine.owner import FileOwner, holder_of, owner_pid

NOBODY = 65534


@pytest.fixture(params=[0o000, 0o777], ids=["open", "closed"])
def umask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Set the most careless and the most anxious umask there is, once the directory of the test is made."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_only_the_owner_can_use_the_files_of_a_store(tmp_path: Path) -> None:
    """Database, log, shared memory and lock are 0600 in a directory of 0700 whatever the umask."""
    path = tmp_path / "state" / "syncd.db"
    with Database.open(f"sqlite:///{path}") as database:
        database.write_now(lambda conn: conn.execute(text("SELECT 1")).scalar())
        database.read_now(lambda conn: conn.execute(text("SELECT 1")).scalar())
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert modes == dict.fromkeys(("syncd.db", "syncd.db-wal", "syncd.db-shm", "syncd.db.lock"), 384)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_directory_that_was_there_keeps_its_rights(tmp_path: Path) -> None:
    """A directory that a person or systemd made is theirs to open or close; the file is ours."""
    tmp_path.chmod(0o755)
    path = tmp_path / "syncd.db"
    path.touch()
    path.chmod(0o644)
    Database.open(f"sqlite:///{path}").close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_owner_learns_the_file_and_the_process(tmp_path: Path) -> None:
    """One sentence says what to look for; after the first has let go, the second may have it."""
    path = tmp_path / "syncd.db"
    first = FileOwner(path)
    with pytest.raises(StoreBusyError) as raised:
        FileOwner(path)
    assert str(raised.value) == f"another syncd (pid {os.getpid()}) owns the store {path}"
    first.release()
    FileOwner(path).release()


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """What a link planted beside the store points to is neither made nor emptied."""
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "syncd.db.lock").symlink_to(target)
    with pytest.raises(StoreError, match="lock"):
        FileOwner(tmp_path / "syncd.db")
    assert target.read_text() == "precious"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_user_may_not_look() -> None:
    """`status` of a user who is not the store's owner is refused in one sentence."""
    program = (
        "import os, sys; from syncd.errors import StoreError; from syncd.store.engine.database import Database\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "for way in (Database.open_readonly, Database.open):\n"
        "    try: way(sys.argv[1])\n"
        "    except StoreError as error: print(error)\n"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = Path(directory, "syncd.db")
        Database.open(f"sqlite:///{path}").close()
        path.parent.chmod(0o755)
        said = subprocess.run(
            [sys.executable, "-c", program, f"sqlite:///{path}"], capture_output=True, text=True, check=True, timeout=60
        ).stdout.splitlines()
    remedy = "it belongs to root: sudo syncd ..."
    assert said == [
        f"the store {path} cannot be read: Permission denied; {remedy}",
        f"the store {path} is another user's, and only that one may do this; {remedy}",
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("mode", [0o700, 0o755], ids=["closed", "open"])
def test_another_user_is_told_by_every_way_whose_a_store_is(mode: int) -> None:
    """Also where the directory may not be entered, or the file be read; nothing is left beside it."""
    program = (
        "import os, sys; from syncd.errors import StoreError; from syncd.store.engine.database import Database\n"
        "from syncd.store.engine.migrate import state\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "for way in (Database.open_readonly, Database.open, state):\n"
        "    try: way(sys.argv[1])\n"
        "    except StoreError as error: print(error)\n"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = Path(directory, "syncd.db")
        Database.open(f"sqlite:///{path}").close()
        path.chmod(0o644)
        path.parent.chmod(mode)
        before = set(path.parent.iterdir())
        said = subprocess.run(
            [sys.executable, "-c", program, f"sqlite:///{path}"], capture_output=True, text=True, check=True, timeout=60
        ).stdout.splitlines()
        left = set(path.parent.iterdir())

    told = [one for one in said if one.endswith("; it belongs to root: sudo syncd ...")]
    assert (len(told), told) == (2 if mode == 0o755 else 3, said)
    assert left == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root may open what is another user's")
def test_root_does_not_become_the_owner_of_what_is_another_users(tmp_path: Path) -> None:
    """It may look; mail that it delivered, that user could not touch."""
    path = tmp_path / "syncd.db"
    Database.open(f"sqlite:///{path}").close()
    os.chown(path, NOBODY, NOBODY)

    with pytest.raises(StoreError, match="another user's"):
        Database.open(f"sqlite:///{path}")
    Database.open_readonly(f"sqlite:///{path}").close()


def test_holder_of_a_lock_is_found_without_touching_it() -> None:
    """By device and inode, and only of the kind of lock that it is."""
    locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 12 fe:00:77 0 EOF\n2: -> FLOCK x\n"

    assert holder_of(locks, device=os.makedev(0xFE, 0), inode=77) == 12
    assert holder_of(locks, device=os.makedev(0xFE, 0), inode=78) is None


def test_owner_of_a_store_is_told_while_it_has_it(tmp_path: Path) -> None:
    """Who only looks keeps nobody from the lock."""
    store = tmp_path / "syncd.db"

    before, owner = owner_pid(store), FileOwner(store)
    during = owner_pid(store)
    owner.release()

    assert (before, during, owner_pid(store)) == (None, os.getpid(), None)
