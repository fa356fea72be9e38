"""What goes wrong with a device's directory: told where and what, nothing lost or touched, and the others go on."""

import base64
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account, letter, pop3_account

MakeDaemon = Callable[..., Daemon]
LIKE_AN_ORDINARY_USER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Runs a command so that rights count for root as well."""


def ordinary(make_daemon: MakeDaemon, *arguments: object, **named: object) -> Daemon:
    """Return a daemon for whom the rights of files count, whoever runs the tests."""
    return make_daemon(*arguments, **named, through=LIKE_AN_ORDINARY_USER if os.geteuid() == 0 else ())


# A path that cannot be used.


def closed(path: Path) -> None:
    path.mkdir(mode=0)


def inside_of_closed(path: Path) -> None:
    path.parent.mkdir(mode=0)


def read_only(path: Path) -> None:
    path.mkdir(mode=0o500)


def a_file(path: Path) -> None:
    path.write_text("a file")


def inside_of_a_file(path: Path) -> None:
    path.parent.write_text("a file")


def a_loop(path: Path) -> None:
    path.symlink_to(path)


PATHS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "closed": ("closed", closed, "the directory of the device cannot be opened: permission denied"),
    "in-closed": (
        "disk/in-closed",
        inside_of_closed,
        "cannot make the directory of the device: EACCES (permission denied)",
    ),
    "read-only": ("read-only", read_only, "cannot write a control file: EACCES (permission denied)"),
    "file": ("file", a_file, "the directory of the device cannot be opened: not a directory"),
    "in-file": (
        "other/in-file",
        inside_of_a_file,
        "cannot make the directory of the device: ENOTDIR (not a directory)",
    ),
    "loop": ("loop", a_loop, "the directory of the device cannot be opened: too many levels of symbolic links"),
}


def test_path_that_cannot_be_used_is_told_and_the_other_device_is_served(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """The device is away, with a reason; once its path can be used it gets all its mail."""
    deliver(dovecot, mail_user, 2)
    devices = ("laptop", *(path for path, *_ in PATHS.values()))
    daemon = ordinary(make_daemon, {"work": imap_account(dovecot, mail_user)}, devices=devices)
    for path, make, _ in PATHS.values():
        make(tmp_path / path)

    ended = daemon.syncd("sync")
    before = {one["name"]: (one["state"], one["error"]) for one in daemon.status()["devices"]}
    laptop = len(files(tmp_path / "laptop", "work.INBOX"))
    for path, *_ in PATHS.values():
        repair(tmp_path / path)
    daemon.sync()

    assert (ended.returncode, ended.stdout) == (1, "")
    assert sorted(ended.stderr.splitlines()) == sorted(f"device {name}: {said}" for name, (*_, said) in PATHS.items())
    assert before == {"laptop": ("active", None), **{name: ("away", said) for name, (*_, said) in PATHS.items()}}
    assert laptop == 2
    assert [len(files(tmp_path / device, "work.INBOX")) for device in devices] == [2] * len(devices)
    assert {(one["state"], one["error"]) for one in daemon.status()["devices"]} == {("active", None)}


def repair(path: Path) -> None:
    """Let a device's path be one that can be used."""
    for each in (path.parent, path):
        if each.is_symlink() or each.is_file():
            each.unlink()
        elif each.is_dir():
            each.chmod(0o700)


def test_mailbox_directory_without_rights_stands_still_by_itself(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """One mailbox of a device is named; its mail is no deletion, and all other mailboxes get theirs."""
    deliver(dovecot, mail_user, 2)
    deliver(dovecot, mail_user, 1, mailbox="Old", first=2)
    subdirs = {"laptop": "", "phone": "cur", "tablet": "new"}
    daemon = ordinary(make_daemon, {"work": imap_account(dovecot, mail_user)}, devices=(*subdirs, "nas"))
    daemon.sync()
    directories = {device: tmp_path / device / ".work.INBOX" / subdir for device, subdir in subdirs.items()}
    for device, directory in directories.items():
        directory.chmod(0o500 if subdirs[device] == "new" else 0)
    deliver(dovecot, mail_user, 1, first=3)
    deliver(dovecot, mail_user, 1, mailbox="Old", first=4)

    ended = daemon.syncd("sync")
    shown = {one["name"]: (one["state"], one["error"]) for one in daemon.status()["devices"]}
    for directory in directories.values():
        directory.chmod(0o700)
    others = [len(files(tmp_path / device, "work.Old")) for device in subdirs]
    nas = len(files(tmp_path / "nas", "work.INBOX"))
    daemon.sync()

    assert ended.returncode == 1
    lines = sorted(ended.stderr.splitlines())
    for device, line in zip(subdirs, lines, strict=True):
        assert line.startswith(f"device {device}: work/INBOX: cannot ")
        assert line.endswith("EACCES (permission denied)")
        assert (shown[device][0], f"device {device}: {shown[device][1]}") == ("active", line)
    assert (shown["nas"], nas, others) == (("active", None), 3, [2, 2, 2])
    assert [len(files(tmp_path / device, "work.INBOX")) for device in subdirs] == [3, 3, 3]
    with dovecot.imap(mail_user) as client:
        assert client.select("INBOX", readonly=True)[1] == [b"3"]


# A disk that is full.


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a small file system, and give what changes its size; skip where that is not allowed."""
    path.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system can be mounted by root only; test_small_trouble has a disk that says ENOSPC")
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", str(path)], check=True) and None
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_full_disk_of_a_device_is_told_and_the_rest_comes_when_there_is_room(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """No half file, no message set aside, no other device concerned; with room again the daemon goes on by itself."""
    deliver(dovecot, mail_user, 2)
    with small_disk(tmp_path / "phone", "300k") as resize:
        with make_daemon({"work": imap_account(dovecot, mail_user)}) as daemon:
            daemon.sync()
            dovecot.deliver(mail_user, "INBOX", letter(2, body_bytes=600_000))
            deliver(dovecot, mail_user, 2, first=3)

            ended = daemon.syncd("sync")
            status, phone = daemon.status(), daemon.device("phone")
            half = list((tmp_path / "phone" / ".work.INBOX" / "tmp").iterdir())
            resize("10m")
            wait_until(lambda: len(files(tmp_path / "phone", "work.INBOX")) == 5, 30, "the rest is delivered")
            wait_until(lambda: daemon.device("phone")["error"] is None, 30, "the trouble is over")

        assert ended.returncode == 1
        assert ended.stderr == "device phone: cannot write a message: ENOSPC (no space left on device)\n"
        assert phone["retry_at"] > status["at"]
        assert (status["troubles"], half) == ([], [])
        octets = [file.read_bytes() for file in files(tmp_path / "phone", "work.INBOX")]
        assert sorted(octets) == sorted(file.read_bytes() for file in files(tmp_path / "laptop", "work.INBOX"))


@pytest.mark.parametrize("kind", ["imap", "pop3"])
def test_disk_of_the_store_without_room_for_a_message_is_told_and_nothing_is_lost(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path, kind: str
) -> None:
    """A large message waits on its server, which is asked to delete nothing, and comes when there is room."""
    account = imap_account if kind == "imap" else pop3_account
    deliver(dovecot, mail_user, 1)
    with small_disk(tmp_path / "disk", "4m") as resize:
        devices = {"laptop": {"path": str(tmp_path / "laptop")}}
        accounts = {"work": account(dovecot, mail_user)}
        daemon = make_daemon(accounts)
        daemon.configure(
            {"accounts": accounts, "devices": devices, "store": {"url": f"sqlite:///{tmp_path}/disk/syncd.db"}}
        )
        daemon.sync()
        noise = base64.encodebytes(random.Random(1).randbytes(5_000_000)).replace(b"\n", b"\r\n")
        dovecot.deliver(mail_user, "INBOX", letter(1) + noise)

        ended = daemon.syncd("sync")
        on_device = len(files(tmp_path / "laptop", "work.INBOX"))
        resize("60m")
        with daemon:
            daemon.sync()

        assert (ended.returncode, ended.stdout) == (1, "")
        # NOTE: whether the message or a change of the store finds no room first is a matter of luck.
        assert ended.stderr in {
            "account work: the disk of the store cannot take a large message: no space left on device\n",
            "syncd: the disk of the store is full\n",
        }
        assert on_device == 1
        assert len(files(tmp_path / "laptop", "work.INBOX")) == 2


# What lies in cur/ and is no mail.


def test_odd_things_in_a_mailbox_are_left_alone_and_hold_up_nothing(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Links, FIFOs and devices are neither followed, opened nor removed; the mailbox is synced beside them."""
    deliver(dovecot, mail_user, 2)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    daemon.sync()
    cur = tmp_path / "laptop" / ".work.INBOX" / "cur"
    secret = tmp_path / "secret"
    secret.write_text("Subject: of nobody else\n\nroot:x:0:0\n")
    (cur / "link:2,S").symlink_to(secret)
    (cur / "dangling:2,S").symlink_to("nothing")
    (cur / "directory:2,S").mkdir()
    os.mkfifo(cur / "fifo:2,S")
    os.mkfifo(cur.parent / "new" / "fifo")
    if os.geteuid() == 0:
        os.mknod(cur / "device:2,S", 0o020600, os.makedev(1, 5))
    before = sorted(cur.iterdir())
    deliver(dovecot, mail_user, 1, first=2)

    daemon.sync()
    with daemon:
        deliver(dovecot, mail_user, 1, first=3)
        wait_until(lambda: len(files(tmp_path / "phone", "work.INBOX")) == 4, 30, "the daemon goes on, too")
        daemon.sync()
        shown, told = daemon.device("laptop")["odd_files"], daemon.syncd("status").stdout
        (cur / "fifo:2,S").unlink()
        wait_until(lambda: len(daemon.device("laptop")["odd_files"]) < len(shown), 30, "it is told that one went")
        left = daemon.device("laptop")["odd_files"]
        os.mkfifo(cur / "fifo:2,S")

    assert sorted(cur.iterdir()) == before
    assert len([file for file in files(tmp_path / "laptop", "work.INBOX") if is_mail(file)]) == 4
    assert "replica_files_left_alone" in daemon.log()
    assert {".work.INBOX/cur/fifo:2,S: it is a FIFO", ".work.INBOX/new/fifo: it is a FIFO"} <= {
        f"{one['file']}: {one['why'].partition(',')[0]}" for one in shown
    }
    assert all(f"{one['file']}: {one['why']}" in told for one in shown)
    assert f"{len(shown)} files left alone" in told
    assert [one for one in shown if one["file"] != ".work.INBOX/cur/fifo:2,S"] == left
    with dovecot.imap(mail_user) as client:
        client.select("INBOX", readonly=True)
        assert client.search(None, 'SUBJECT "nobody else"')[1] == [b""]


def test_directory_that_no_mailbox_can_be_called_is_left_alone_and_shown(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Its name is no UTF-8, or not spelled as the layout has it; renamed as told, it is a mailbox like others."""
    deliver(dovecot, mail_user, 1)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    daemon.sync()
    root = tmp_path / "laptop"
    for number, name in enumerate((b".work.Entw\xfcrfe", ".work.Entwürfe".encode())):
        directory = root / os.fsdecode(name)
        for sub in ("cur", "new", "tmp"):
            (directory / sub).mkdir(parents=True)
        (directory / "cur" / f"{number}.a.b:2,S").write_bytes(letter(number + 7))

    with daemon:
        daemon.sync()
        shown, told = daemon.device("laptop")["left_alone"], daemon.syncd("status").stdout
        doctor = daemon.syncd("doctor", "--offline").stdout
        (rename,) = (one["remedy"] for one in shown if one["remedy"].startswith("mv "))
        subprocess.run(rename, shell=True, cwd=root, check=True)
        daemon.sync()
        wait_until(lambda: files(tmp_path / "phone", "work.Entw&APw-rfe"), 30, "it is a mailbox by now")
        left = daemon.device("laptop")["left_alone"]

    assert {one["directory"] for one in shown} == {".work.Entw\\xfcrfe", ".work.Entwürfe"}
    assert "2 directories left alone" in told
    assert all(one["remedy"] in told and one["remedy"] in doctor for one in shown)
    assert [one["directory"] for one in left] == [".work.Entw\\xfcrfe"]


def test_odd_files_of_a_device_are_kept_and_hold_up_nothing(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Empty and huge files, and names that a shell, a terminal or a line would trip over: they are where they were."""
    deliver(dovecot, mail_user, 2)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    daemon.sync()
    cur = os.fsencode(tmp_path / "laptop" / ".work.INBOX" / "cur")
    kept = {
        b"empty:2,S": 0,
        b"huge:2,S": 2**28,
        b"two\nlines:2,S": 9,
        b"no\xff\xfeutf8:2,S": 9,
        b"esc\x1b[31m:2,S": 9,
        b"x" * 250 + b":2,S": 9,
        b":2,S": 9,
        b"-rf:2,": 9,
        b"$(touch owned);:2,S": 9,
        b"twice:2,S:2,F": 9,
        b"no-letters": 9,
    }
    for name, size_bytes in kept.items():
        with open(os.path.join(cur, name), "wb") as file:  # noqa: PTH118, PTH123  # names that no Path shows
            file.write(b"Subject: \n"[:size_bytes])
            file.truncate(size_bytes)
    deliver(dovecot, mail_user, 1, first=2)

    daemon.syncd("sync")
    with daemon:
        deliver(dovecot, mail_user, 1, first=3)
        wait_until(lambda: len(files(tmp_path / "phone", "work.INBOX")) >= 4, 30, "the other device is served")
        wait_until(lambda: daemon.device("laptop")["waiting"] == 0, 30, "this one is, too")
        shown = daemon.syncd("status")
        (empty,) = daemon.device("laptop")["odd_files"]

    left = {name: os.lstat(os.path.join(cur, name)).st_size for name in kept if name in os.listdir(cur)}  # noqa: PTH118, PTH208
    assert left == kept
    assert shown.returncode == 0
    assert (empty["file"], empty["why"]) == (".work.INBOX/cur/empty:2,S", "it is empty, so it is no message")
    assert daemon.device("laptop")["odd_files"] == [empty], "without a daemon as well"
    assert not set(shown.stdout + daemon.log()) & set("\x1b\xff")
    assert not (tmp_path / "owned").exists()


def is_mail(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


@pytest.mark.parametrize("umask", ["0", "0777"])
def test_everything_that_is_made_is_private_whatever_the_umask(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path, umask: str
) -> None:
    """Store, spool, socket, markers and mail: 0600 and 0700, from `syncd sync` and from the daemon."""
    deliver(dovecot, mail_user, 2)
    deliver(dovecot, f"{mail_user}p", 2)
    dovecot.deliver(mail_user, "INBOX", letter(2, body_bytes=2_000_000), flags=("$Label",))
    accounts = {"work": imap_account(dovecot, mail_user), "isp": pop3_account(dovecot, f"{mail_user}p")}
    daemon = make_daemon(
        accounts,
        through=("sh", "-c", f'umask {umask}; export PYTHONDONTWRITEBYTECODE=1; exec "$@"', "sh"),
        is_made=False,
    )
    state = daemon.directory / "state"
    daemon.store = state / "syncd.db"
    roots = {device: {"path": str(tmp_path / "mail" / device)} for device in ("laptop", "phone")}
    daemon.configure({"accounts": accounts, "devices": roots})

    daemon.sync()
    with daemon:
        deliver(dovecot, mail_user, 1, first=3)
        daemon.sync()
        made = [path for top in (state, tmp_path / "mail", daemon.socket.parent) for path in (top, *top.rglob("*"))]
        modes = {path: (path.is_dir(), path.lstat().st_mode & 0o7777) for path in made if path != daemon.socket}
        socket_mode = daemon.socket.stat().st_mode & 0o7777

    assert len(files(tmp_path / "mail" / "laptop", "work.INBOX")) == 4
    assert set(modes.values()) == {(True, 0o700), (False, 0o600)}
    assert socket_mode & 0o077 == 0
