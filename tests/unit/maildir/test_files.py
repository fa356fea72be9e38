"""Directories and files of a replica: what is refused, what is left alone, what is cleaned."""

import errno
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Never

import pytest

from syncd.errors import DeviceAwayError, FileError, Reach, Temper
from syncd.maildir.disk.barrier import Touched, barrier
from syncd.maildir.disk.files import Absence, FileFacts, Renaming
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.system.failures import failure
from syncd.maildir.system.libc import rename_without_replacing, syncfs

BOX = PurePosixPath(".work.INBOX")
NAME = "1.R0123456789abcdef.syncd,S=1,W=1"


@pytest.fixture
def box(root: ReplicaRoot) -> Path:
    root.create(BOX).close()
    return root.path / BOX


def plant_odd_things(directory: Path, target: Path) -> set[str]:
    """Put everything that is no message into a directory."""
    (directory / "link").symlink_to(target)
    (directory / "dangling").symlink_to(directory / "nothing")
    (directory / "dir").mkdir()
    os.mkfifo(directory / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(directory)
        try:
            bound.bind("socket")
        finally:
            os.chdir(here)
    return {"link", "dangling", "dir", "fifo", "socket"}


def test_root_that_is_not_there_means_away(tmp_path: Path) -> None:
    """No conclusions from a root that cannot be opened; a link to one is what the person configured."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(DeviceAwayError):
            ReplicaRoot(path)
    (tmp_path / "link").symlink_to(tmp_path)
    with ReplicaRoot(tmp_path / "link") as root:
        assert root.directories() == ()


def test_directories_of_one_mount_are_on_one_file_system(tmp_path: Path) -> None:
    """Two roots side by side, and one below the other, can share files."""
    paths = [tmp_path / "laptop", tmp_path / "phone", tmp_path / "laptop" / "inner"]
    found = set()
    for path in paths:
        path.mkdir()
        with ReplicaRoot(path) as root:
            found.add(root.file_system())

    assert len(found) == 1


_TWO_MOUNTS = """
import os, subprocess, sys
from pathlib import Path
from syncd.maildir.disk.root import ReplicaRoot

disk, bound, beside = sys.argv[1:]
subprocess.run(["mount", "--bind", disk, bound], check=True)
found = []
for path in (disk, bound, beside):
    with ReplicaRoot(Path(path)) as root:
        found.append(root.file_system())
try:
    os.link(Path(disk, "file"), Path(bound, "link"))
except OSError:
    print(len({device for device, _ in found}), found[0] == found[1], found[0] == found[2])
"""


def test_two_mounts_of_one_file_system_are_not_one(tmp_path: Path) -> None:
    """Between bind mounts nothing can be linked, though the file system below them is the same."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount, and this is not root")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespace of our own here: unshare is not possible")
    paths = [tmp_path / name for name in ("disk", "bound", "beside")]
    for path in paths:
        path.mkdir()
    (tmp_path / "disk" / "file").touch()

    command = ["unshare", "--mount", sys.executable, "-c", _TWO_MOUNTS, *map(str, paths)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])

    assert told.stderr == ""
    assert told.stdout.split() == ["1", "False", "True"]


def test_mount_that_the_system_does_not_tell_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /proc, the device number alone says who can share files."""

    def no_proc(*_: object, **__: object) -> Never:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", no_proc)
    with ReplicaRoot(tmp_path) as root:
        assert root.file_system() == (tmp_path.stat().st_dev, 0)


@pytest.mark.parametrize("directory", ["..", "../x", "/etc", "a/../..", "."])
def test_path_that_leaves_the_root_is_refused(root: ReplicaRoot, directory: str) -> None:
    """Only directories below the root can be named at all."""
    for use in (root.mailbox, root.create):
        with pytest.raises(ValueError, match="below"):
            use(PurePosixPath(directory))


@pytest.mark.parametrize("linked", ["", "cur", "new", "tmp"])
def test_linked_directory_is_refused(root: ReplicaRoot, box: Path, tmp_path: Path, linked: str) -> None:
    """A symlink in place of a mailbox directory or of cur/, new/, tmp/ is never followed, nor made whole."""
    elsewhere = tmp_path / "elsewhere"
    (box / linked).rename(elsewhere)
    (box / linked).symlink_to(elsewhere)

    for use in (root.mailbox, root.create):
        with pytest.raises(FileError) as caught:
            use(BOX)
        assert caught.value.reach is Reach.MAILBOX
    assert root.directories() == (() if linked in {"", "cur"} else (BOX,))


def test_mailbox_inside_a_linked_directory_is_refused(root: ReplicaRoot, tmp_path: Path) -> None:
    """Every step of the path is checked, not only the last."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (root.path / "work").symlink_to(outside)

    with pytest.raises(FileError):
        root.create(PurePosixPath("work/INBOX"))
    assert list(outside.iterdir()) == []


def test_directories_are_found_at_any_depth(root: ReplicaRoot) -> None:
    """What has a cur/ is a mailbox directory, whoever made it; what is inside cur/ is not."""
    for directory in ("work/INBOX", "work/INBOX/deep/er", ".work.Sent"):
        root.create(PurePosixPath(directory)).close()
    (root.path / "work/INBOX/cur/odd/cur").mkdir(parents=True)

    assert [str(directory) for directory in root.directories()] == [".work.Sent", "work/INBOX", "work/INBOX/deep/er"]


def test_existing_directory_keeps_its_mode(root: ReplicaRoot, box: Path) -> None:
    """What a person shared with a group stays shared."""
    box.chmod(0o750)

    root.create(BOX).close()

    assert stat.S_IMODE(box.stat().st_mode) == 0o750


def test_odd_things_have_no_facts_and_no_octets(root: ReplicaRoot, box: Path, tmp_path: Path) -> None:
    """Links, FIFOs, sockets and directories are never followed, opened for long, or read."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    names = plant_odd_things(box / "cur", secret)
    (box / "cur" / "whole").write_bytes(b"octets")
    with root.mailbox(BOX) as mailbox:
        found = dict(mailbox.entries("cur"))

        assert found == dict.fromkeys(names, False) | {"whole": True}
        assert {mailbox.stat("cur", name) for name in names} == {Absence.NOT_A_FILE}
        for name in (*names, "missing"):
            with pytest.raises(FileError) as caught:
                list(mailbox.pieces("cur", name))
            assert caught.value.reach is Reach.MESSAGE
            assert not mailbox.sync_file("cur", name)
        assert mailbox.stat("cur", "missing") is Absence.MISSING
        assert b"".join(mailbox.pieces("cur", "whole")) == b"octets"


def test_file_that_grows_while_read_is_no_message(root: ReplicaRoot, box: Path) -> None:
    """Half an upload never counts as a whole one."""
    path = box / "cur" / "growing"
    path.write_bytes(b"x" * 600_000)
    with root.mailbox(BOX) as mailbox:
        pieces = mailbox.pieces("cur", "growing")
        next(pieces)
        with path.open("ab") as file:
            file.write(b"more")

        with pytest.raises(FileError, match="changed while it was read") as caught:
            list(pieces)
    assert (caught.value.reach, caught.value.temper) == (Reach.MESSAGE, Temper.RETRY)


@pytest.mark.parametrize("filename", ["", ".", "..", "../x", "a/b", "a\0b"])
def test_file_name_that_leads_elsewhere_is_refused(root: ReplicaRoot, box: Path, filename: str) -> None:
    """A name is one component, or it is nothing."""
    with root.mailbox(BOX) as mailbox:
        for use in (
            lambda: mailbox.stat("cur", filename),
            lambda: mailbox.remove("cur", filename),
            lambda: mailbox.write_tmp(filename, [b""], mtime=0),
            lambda: mailbox.rename("cur", "x", to_subdir="cur", to_filename=filename),
        ):
            with pytest.raises(ValueError, match="name of a file"):
                use()


def test_tmp_is_cleaned_of_our_litter_and_of_what_was_given_up(root: ReplicaRoot, box: Path) -> None:
    """Our own names go at once, others' files after 36 hours without a touch, odd things never."""
    tmp = box / "tmp"
    for name in (NAME, "1.foreign", "2.foreign"):
        (tmp / name).write_bytes(b"x")
    os.utime(tmp / "2.foreign", (0, 0))
    odd = plant_odd_things(tmp, box)
    changed = (tmp / "1.foreign").stat().st_ctime

    with root.mailbox(BOX) as mailbox:
        assert mailbox.clean_tmp(now_s=changed + 36 * 3600 - 60) == 1
        assert {path.name for path in tmp.iterdir()} == {"1.foreign", "2.foreign"} | odd
        assert mailbox.clean_tmp(now_s=changed + 36 * 3600 + 60) == 2
        assert {path.name for path in tmp.iterdir()} == odd


def test_rename_answers_instead_of_replacing(root: ReplicaRoot, box: Path) -> None:
    """A rename is done, comes too late, or finds its target taken; nothing is ever overwritten."""
    (box / "new" / "a").write_bytes(b"a")
    (box / "cur" / "b").write_bytes(b"b")
    with root.mailbox(BOX) as mailbox:
        assert mailbox.rename("new", "a", to_subdir="cur", to_filename="b") is Renaming.TAKEN
        assert mailbox.rename("new", "z", to_subdir="cur", to_filename="y") is Renaming.GONE
        assert mailbox.rename("new", "a", to_subdir="cur", to_filename="a:2,S") is Renaming.DONE
        assert not mailbox.remove("new", "a")
        assert mailbox.remove("cur", "a:2,S")
    assert (box / "cur" / "b").read_bytes() == b"b"


def test_rename_where_it_cannot_be_done_in_one_step_does_not_replace_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A C library or file system without RENAME_NOREPLACE (NFS) changes nothing for the caller."""
    monkeypatch.setattr(sys.modules[rename_without_replacing.__module__], "_renameat2", None)
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            rename_without_replacing("a", "b", source_dir_fd=fd, target_dir_fd=fd)
        rename_without_replacing("a", "c", source_dir_fd=fd, target_dir_fd=fd)
    finally:
        os.close(fd)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"b": b"b", "c": b"a"}


def test_syncfs_reports_its_errors() -> None:
    """A barrier that the system refuses is no barrier."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        syncfs(987_654)


@pytest.mark.parametrize("count", [1, 3, 100])
def test_barrier_covers_renamed_files_too(root: ReplicaRoot, box: Path, count: int) -> None:
    """A file that the device renamed since is made durable with its whole file system."""
    for number in range(count):
        (box / "cur" / f"{number}").write_bytes(b"x")
    touched = [Touched(BOX, "cur", f"{number}") for number in range(count)]
    (box / "cur" / "0").rename(box / "cur" / "0:2,S")

    barrier(root, touched)
    barrier(root, [Touched(BOX, "new")])
    barrier(root, [])


def test_barrier_in_a_directory_that_went_away_fails(root: ReplicaRoot) -> None:
    """What cannot be looked at does not count as durable."""
    with pytest.raises(FileError):
        barrier(root, [Touched(PurePosixPath(".work.Gone"), "cur", "a")])


@pytest.mark.parametrize(
    ("code", "reach", "temper"),
    [
        (errno.ENOSPC, Reach.DEVICE, Temper.WAIT),
        (errno.EDQUOT, Reach.DEVICE, Temper.WAIT),
        (errno.EIO, Reach.DEVICE, Temper.WAIT),
        (errno.EMFILE, Reach.DEVICE, Temper.WAIT),
        (errno.EACCES, Reach.MAILBOX, Temper.WAIT),
        (errno.ENOENT, Reach.MAILBOX, Temper.WAIT),
        (errno.ELOOP, Reach.MAILBOX, Temper.WAIT),
        (errno.ENAMETOOLONG, Reach.MESSAGE, Temper.GIVE_UP),
        (0, Reach.DEVICE, Temper.WAIT),
    ],
)
def test_os_error_says_how_far_it_reaches_and_no_path(code: int, reach: Reach, temper: Temper) -> None:
    """The text of an error names the errno; whose mail it was is not in it."""
    error = failure(OSError(code, "text", "/srv/mail/ana/.work.Secret"), "write a message")

    assert (error.reach, error.temper, error.errno) == (reach, temper, code)
    assert "Secret" not in str(error)
    assert str(error).startswith("cannot write a message: ")


@pytest.mark.parametrize("code", [errno.ESTALE, errno.ENODEV, errno.ENOTCONN])
def test_vanished_file_system_means_away(code: int) -> None:
    """A disk that was pulled out or a server that went away is no error of the mail on it."""
    assert isinstance(failure(OSError(code, "text"), "list"), DeviceAwayError)


def test_facts_are_whole_seconds(root: ReplicaRoot, box: Path) -> None:
    """Size and mtime are compared as the store keeps them."""
    path = box / "cur" / "a"
    path.write_bytes(b"abc")
    os.utime(path, ns=(0, -1))
    with root.mailbox(BOX) as mailbox:
        assert mailbox.stat("cur", "a") == FileFacts(3, -1)
