"""`syncd backup` as a process: a copy while the daemon goes on, and what becomes of everything when it is put back."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.servers.daemon import Daemon
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account

MakeDaemon = Callable[..., Daemon]
DEVICES = ("laptop", "phone")


def test_store_that_is_put_back_goes_on_with_what_devices_have(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Copied while the daemon runs, and put back later: both devices are adopted, and keep every file."""
    deliver(dovecot, mail_user, 3)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    target = tmp_path / "copy of today.db"

    def inbox(device: str) -> dict[str, int]:
        return {file.name: file.stat().st_ino for file in files(tmp_path / device, "work.INBOX")}

    nothing = daemon.syncd("backup", str(target))
    with daemon:
        daemon.sync()
        made = daemon.syncd("backup", str(target))
        again = daemon.syncd("backup", str(target))
        deliver(dovecot, mail_user, 2)
        daemon.sync()
        before = [inbox(device) for device in DEVICES]
    replaced = daemon.syncd("backup", str(tmp_path / "later.db"))
    nowhere = daemon.syncd("backup", str(tmp_path / "bk" / "x.db"))

    assert nothing.returncode == 1
    assert nothing.stderr.startswith(f"syncd: there is no store at {daemon.store}: syncd has not run yet; ")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == f"copied the store to {target} ({target.stat().st_size:,} bytes)\n"
    assert (again.returncode, again.stderr) == (
        1,
        f"syncd: {target} is there already: name another file, or say --replace\n",
    )
    assert replaced.returncode == 0
    assert nowhere.stderr == f"syncd: there is no directory {tmp_path}/bk: make it, or name another file\n"

    for file in daemon.directory.glob(f"{daemon.store.name}-*"):
        file.unlink()
    shutil.copy(target, daemon.store)
    refused = daemon.syncd("sync")
    adopted = [daemon.syncd("adopt", device) for device in DEVICES]
    daemon.sync()
    assert refused.returncode == 1
    assert all("syncd adopt" in line for line in refused.stderr.splitlines())
    assert [one.returncode for one in adopted] == [0, 0]
    assert [len(one) for one in before] == [5, 5]
    assert [inbox(device) for device in DEVICES] == before


def test_copy_never_takes_the_place_of_the_store_or_of_what_is_not_named(
    make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    daemon = make_daemon({})
    with daemon:
        itself = daemon.syncd("backup", "--replace", str(daemon.store))
        directory = daemon.syncd("backup", "--replace", str(tmp_path))
        target = tmp_path / "copy.db"
        target.write_text("the one before")
        replaced = daemon.syncd("backup", "--replace", str(target))
        assert (itself.returncode, itself.stderr) == (1, f"syncd: {daemon.store} is the store itself\n")
        assert (directory.returncode, directory.stderr) == (1, f"syncd: {tmp_path} is a directory: name a file\n")
        assert replaced.returncode == 0
        assert target.read_bytes().startswith(b"SQLite format 3")


def test_name_that_no_file_can_have_is_told_in_one_line(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """It is the disk that says what is wrong with it."""
    daemon = make_daemon({}, is_made=True)
    daemon.sync()

    for target in (tmp_path / ("n" * 300), tmp_path / ("n" * 300) / "copy.db"):
        refused = daemon.syncd("backup", str(target))
        assert (refused.returncode, refused.stderr) == (1, f"syncd: {target} cannot be written: file name too long\n")
