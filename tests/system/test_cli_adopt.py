"""`syncd adopt` as a process: what was found is told, and the next sync goes on with it, with a daemon and without."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account

MakeDaemon = Callable[..., Daemon]

COUNT = 12


def made(dovecot: Dovecot, user: str, make_daemon: MakeDaemon) -> Daemon:
    """Return a daemon, not running, whose two devices have twelve messages each."""
    deliver(dovecot, user, COUNT)
    daemon = make_daemon({"work": imap_account(dovecot, user)})
    daemon.sync()
    return daemon


def lose_store(daemon: Daemon) -> None:
    for file in daemon.directory.glob(f"{daemon.store.name}*"):
        file.unlink()


def inbox(root: Path) -> dict[str, int]:
    """Return the files of INBOX and their inodes."""
    return {file.name: file.stat().st_ino for file in files(root, "work.INBOX")}


def test_lost_store_is_made_again_without_a_daemon(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A sync says what to do; adopted, the devices keep their very files, and the next sync is complete."""
    daemon = made(dovecot, mail_user, make_daemon)
    before = [inbox(tmp_path / device) for device in ("laptop", "phone")]
    lose_store(daemon)

    refused = daemon.syncd("sync")
    adopted = [daemon.syncd("adopt", device) for device in ("laptop", "phone")]
    daemon.sync()

    assert refused.returncode == 1
    lines = refused.stderr.splitlines()
    assert len(lines) == 2
    for line, device in zip(sorted(lines), ("laptop", "phone"), strict=True):
        assert line.startswith(f"device {device}: the directory has the marker of another store's device {device} (")
        assert f"its mail is left alone; syncd adopt {device} goes on with it" in line
    for ended, device in zip(adopted, ("laptop", "phone"), strict=True):
        assert (ended.returncode, ended.stderr) == (0, "")
        found, what, when = ended.stdout.splitlines()
        assert found.startswith(f"{device}: found the marker of another store's device {device} (")
        assert found.endswith(f"in {tmp_path / device}")
        assert what == (
            f"{device}: {COUNT} files in 1 mailbox, each to be compared with the server: what either lacks it gets, "
            "and nothing missing is deleted"
        )
        assert when == "the daemon is not running: this happens with the next syncd sync or syncd run"
    assert [inbox(tmp_path / device) for device in ("laptop", "phone")] == before
    assert {daemon.device(device)["state"] for device in ("laptop", "phone")} == {"active"}
    with dovecot.imap(mail_user) as client:
        assert client.select("INBOX", readonly=True)[1] == [str(COUNT).encode()]


def test_running_daemon_adopts_at_once(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A directory from a backup stands still beside its neighbour, until a person says that it is the one."""
    daemon = made(dovecot, mail_user, make_daemon)
    shutil.copytree(tmp_path / "laptop", tmp_path / "backup")
    deliver(dovecot, mail_user, 1, first=COUNT)
    daemon.sync()
    shutil.rmtree(tmp_path / "laptop")
    (tmp_path / "backup").rename(tmp_path / "laptop")

    with daemon:
        wait_until(lambda: daemon.device("laptop")["state"] == "foreign", 20, "the laptop stands still")
        shown = daemon.syncd("status").stdout
        ended = daemon.syncd("adopt", "laptop")
        wait_until(lambda: len(inbox(tmp_path / "laptop")) == COUNT + 1, 20, "what it lacks is delivered")
        wait_until(lambda: daemon.device("laptop")["state"] == "active", 20, "the adoption is over")

    assert "older marker" in shown
    assert "syncd adopt laptop" in shown.replace("\n", " ")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[0].startswith("laptop: found an older marker, ")
    assert len(ended.stdout.splitlines()) == 2
    with dovecot.imap(mail_user) as client:
        assert client.select("INBOX", readonly=True)[1] == [str(COUNT + 1).encode()]


def test_right_marker_over_old_files_is_adopted_before_the_next_sync(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Restored without its marker, a directory does not show its age; adopted first, nothing of it is a deletion."""
    daemon = made(dovecot, mail_user, make_daemon)
    newest = files(tmp_path / "laptop", "work.INBOX")[:3]
    for file in newest:
        file.unlink()

    adopted = daemon.syncd("adopt", "laptop")
    daemon.sync()

    assert adopted.stdout.splitlines()[0].startswith("laptop: found the marker that belongs there in ")
    assert len(inbox(tmp_path / "laptop")) == len(inbox(tmp_path / "phone")) == COUNT
    with dovecot.imap(mail_user) as client:
        assert client.select("INBOX", readonly=True)[1] == [str(COUNT).encode()]


def test_new_disk_at_the_old_place_is_filled(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """An empty directory is away until a person says that it is meant so."""
    daemon = made(dovecot, mail_user, make_daemon)
    shutil.rmtree(tmp_path / "laptop")
    (tmp_path / "laptop").mkdir()

    refused = daemon.syncd("sync")
    adopted = daemon.syncd("adopt", "laptop")
    daemon.sync()

    assert refused.stderr == (
        "device laptop: there is no marker in the directory: unmounted, moved or emptied; its mail is left alone until "
        "it is back; syncd adopt laptop goes on with what is there now\n"
    )
    assert adopted.stdout.splitlines()[:2] == [
        f"laptop: found no mailbox in {tmp_path / 'laptop'}",
        "laptop: all its mail is delivered there anew",
    ]
    assert len(inbox(tmp_path / "laptop")) == COUNT


def test_wrong_names_and_places_are_told(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A device that is none is a usage error; a directory that is not there fails, with a daemon and without."""
    daemon = made(dovecot, mail_user, make_daemon)
    unknown = daemon.syncd("adopt", "tablet")
    (tmp_path / "laptop").rename(tmp_path / "away")
    alone = daemon.syncd("adopt", "laptop")
    with daemon:
        beside = daemon.syncd("adopt", "laptop")
        answer = daemon.request("POST", "/adopt", b'{"device": "tablet"}')

    assert unknown.returncode == 2
    assert "there is no device 'tablet'; known are: laptop, phone" in unknown.stderr.replace("\n", " ")
    assert (alone.returncode, beside.returncode) == (1, 1)
    assert alone.stderr == beside.stderr
    assert alone.stderr == "syncd: the directory of the device cannot be opened: no such file or directory\n"
    assert answer[0] == 400


def test_other_layout_is_not_made_by_adopting(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A person is told what does help: the layout as it was, or a directory that is empty."""
    daemon = made(dovecot, mail_user, make_daemon)
    before = inbox(tmp_path / "laptop")
    config = {"accounts": {"work": imap_account(dovecot, mail_user)}}
    device = {"path": str(tmp_path / "laptop"), "layout": "fs"}

    daemon.configure({**config, "devices": {"laptop": device}})
    refused = [daemon.syncd("sync"), daemon.syncd("adopt", "laptop")]
    remedy = daemon.device("laptop")["remedy"]
    (tmp_path / "fresh").mkdir()
    daemon.configure({**config, "devices": {"laptop": {**device, "path": str(tmp_path / "fresh")}}})
    daemon.sync()

    for ended in refused:
        assert ended.returncode == 1
        assert "is in layout maildir++, and stays so; another layout needs an empty directory" in ended.stderr
    assert remedy == 'set layout = "maildir++" of [devices.laptop] again, or give it an empty directory as path'
    assert len(list((tmp_path / "fresh" / "work" / "INBOX").glob("[cn]*/*"))) == COUNT
    assert inbox(tmp_path / "laptop") == before


def test_tree_in_another_layout_is_refused_before_anything_is_done(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A person is told which layout is meant, with a daemon and without, and may go on all the same."""
    daemon = made(dovecot, mail_user, make_daemon)
    (tmp_path / "laptop" / "work").mkdir()
    (tmp_path / "laptop" / ".work.INBOX").rename(tmp_path / "laptop" / "work" / "INBOX")
    lose_store(daemon)

    alone = daemon.syncd("adopt", "laptop")
    with daemon:
        beside = daemon.syncd("adopt", "laptop")
    anyway = daemon.syncd("adopt", "laptop", "--anyway")

    assert (alone.returncode, beside.returncode, anyway.returncode) == (1, 1, 0)
    assert alone.stderr == beside.stderr
    assert alone.stderr == (
        f'syncd: files in no mailbox of layout maildir++: {COUNT} below work/; is layout = "fs" meant? '
        "(nothing was done; syncd adopt laptop --anyway goes on, and leaves them alone)\n"
    )
    assert anyway.stdout.splitlines()[1].startswith("laptop: no files in its mailboxes, ")
