"""Watching a real directory tree by inotify and by sweeps, each wait under a deadline."""

import asyncio
import itertools
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path, PurePosixPath

import pytest

from syncd.errors import DeviceAwayError
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.news.changes import OVERFLOW, ChangedFile, Changes, changes_of
from syncd.maildir.news.observe import SeenFile
from syncd.maildir.news.sweep import Sweep
from syncd.maildir.news.watch import WatchMode, watch
from syncd.maildir.system.inotify import (
    IN_ATTRIB,
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_ISDIR,
    IN_MODIFY,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_Q_OVERFLOW,
    IN_UNMOUNT,
    Event,
    Inotify,
)
from syncd.maildir.system.mounts import is_shared, mount_of
from syncd.values import replace

BOX = PurePosixPath(".work.INBOX")
DEADLINE_S = 20.0


class Watcher:
    """Gather what a watch says until a condition holds."""

    def __init__(self, changes: AsyncIterator[Changes]) -> None:
        self.all = Changes()
        self.overflows = 0
        self._changes = changes

    async def until(self, holds: Callable[["Watcher"], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds(self):
                found = await anext(self._changes)
                self.overflows += found.is_overflow
                self.all |= replace(found, is_overflow=False)

    async def until_files_come(self, directory: Path) -> None:
        """Put files into a directory, one after another, until one is heard of."""

        async def touch() -> None:
            for number in itertools.count():
                (directory / f"heard{number}").touch()
                await asyncio.sleep(0.02)

        touching = asyncio.create_task(touch())
        try:
            await self.until(lambda seen: any(file.file.name.startswith("heard") for file in seen.all.files))
        finally:
            touching.cancel()


@asynccontextmanager
async def watching(path: Path, mode: WatchMode = WatchMode.AUTO) -> AsyncIterator[Watcher]:
    """Yield a watcher that misses nothing from here on."""
    async with aclosing(watch(path, stop=asyncio.Event(), mode=mode, poll_interval_s=0.02)) as changes:
        watcher = Watcher(changes)
        await watcher.until(lambda seen: seen.overflows == 1)
        yield watcher


def changed(subdir: str, filename: str, directory: PurePosixPath = BOX) -> ChangedFile:
    return ChangedFile(directory, SeenFile.of(subdir, filename))


def gone(subdir: str, filename: str, directory: PurePosixPath = BOX) -> ChangedFile:
    return ChangedFile(directory, SeenFile.of(subdir, filename), is_gone=True)


@pytest.fixture
def box(root: ReplicaRoot) -> Path:
    root.create(BOX).close()
    return root.path / BOX


async def test_rename_is_seen_under_both_names(root: ReplicaRoot, box: Path) -> None:
    """A flag set by a mail program names the old and the new file."""
    (box / "new" / "a").touch()
    async with watching(root.path) as watcher:
        (box / "new" / "a").rename(box / "cur" / "a:2,S")

        await watcher.until(lambda seen: {gone("new", "a"), changed("cur", "a:2,S")} <= seen.all.files)


async def test_file_that_gets_another_name_need_not_be_whole(root: ReplicaRoot, box: Path) -> None:
    """A program may give it flags while another one is writing it."""
    async with watching(root.path) as watcher:
        with (box / "cur" / "a").open("wb"):
            (box / "cur" / "a").rename(box / "cur" / "a:2,S")
            await watcher.until(lambda seen: changed("cur", "a:2,S") in seen.all.files)


async def test_rename_is_seen_soon(root: ReplicaRoot, box: Path) -> None:
    """Of twenty renames one after another, half are heard of within a tenth of a second."""
    (box / "cur" / "a:2,0").touch()
    delays = []
    async with watching(root.path) as watcher:
        for number in range(20):
            (box / "cur" / f"a:2,{number}").rename(box / "cur" / f"a:2,{number + 1}")
            start = time.perf_counter()
            await watcher.until(lambda seen, at=number + 1: changed("cur", f"a:2,{at}") in seen.all.files)
            delays.append(time.perf_counter() - start)
    assert sorted(delays)[10] < 0.1


@pytest.mark.parametrize("mode", list(WatchMode))
async def test_list_of_keywords_is_watched(root: ReplicaRoot, box: Path, mode: WatchMode) -> None:
    """Written in place, put in place or taken away, what letters mean is to be read again."""
    listed = box / "dovecot-keywords"
    async with watching(root.path, mode) as watcher:
        for change in (
            lambda: listed.write_text("0 foo\n"),
            lambda: listed.rename(box / "elsewhere"),
            lambda: (box / "elsewhere").rename(listed),
            listed.unlink,
        ):
            watcher.all = Changes()
            change()
            await watcher.until(lambda seen: BOX in seen.all.keyword_lists | seen.all.mailboxes)


async def test_delivery_is_seen_without_its_tmp(root: ReplicaRoot, box: Path) -> None:
    """What happens in tmp/, in dot files and in control files is nobody's message."""
    async with watching(root.path) as watcher:
        (box / "tmp" / "a").touch()
        (box / "cur" / ".hidden").touch()
        (box / "dovecot-keywords").touch()
        (root.path / ".syncd").touch()
        (box / "tmp" / "a").rename(box / "new" / "a")

        await watcher.until(lambda seen: changed("new", "a")._replace(is_whole=True) in seen.all.files)
        assert {file.file.filename for file in watcher.all.files} == {"a"}
        assert watcher.all.mailboxes == frozenset()


async def test_mailbox_made_later_is_to_be_listed_and_is_watched(root: ReplicaRoot) -> None:
    """A new directory is named, because files in it may be older than its watch; then its files are."""
    later = PurePosixPath(".work.Later")
    async with watching(root.path) as watcher:
        root.create(later).close()
        await watcher.until(lambda seen: later in seen.all.mailboxes)

        await watcher.until_files_come(root.path / later / "cur")


async def test_what_is_written_while_a_mailbox_is_made_is_heard_of(root: ReplicaRoot, box: Path) -> None:
    """An edit in place leaves no trace in its directory, so that there is no moment in which nobody listens."""
    names = [f"a{number}" for number in range(120)]
    for name in names:
        (box / "cur" / name).touch()
    async with watching(root.path) as watcher:
        for at, name in enumerate(names):
            if at % 40 == 20:
                root.create(PurePosixPath(f".work.Later{at}")).close()
            (box / "cur" / name).write_bytes(b"edited")
            await asyncio.sleep(0.005)

        written = {changed("cur", name)._replace(is_written=True) for name in names}
        await watcher.until(lambda seen: written <= seen.all.files)


async def test_name_that_is_no_utf8_costs_a_listing_not_the_watch(root: ReplicaRoot, box: Path) -> None:
    """Such a file has no name to be told; the watch asks for a listing of that mailbox and goes on."""
    async with watching(root.path) as watcher:
        (box / "cur" / os.fsdecode(b"\xff:2,S")).touch()
        await watcher.until(lambda seen: BOX in seen.all.mailboxes)

        await watcher.until_files_come(box / "cur")


async def test_root_replaced_by_another_directory_is_noticed(root: ReplicaRoot, box: Path) -> None:
    """Another file system in place of the root is listed in full, and watched from then on."""
    link, other = root.path.with_name("link"), root.path.with_name("other")
    link.symlink_to(root.path)
    (other / BOX / "cur").mkdir(parents=True)
    async with watching(link) as watcher:
        link.with_name("link~").symlink_to(other)
        link.with_name("link~").replace(link)
        await watcher.until(lambda seen: seen.overflows == 2)

        await watcher.until_files_come(other / BOX / "cur")


async def test_link_is_not_followed_out_of_the_root(root: ReplicaRoot, box: Path) -> None:
    """What happens behind a link that somebody put into a replica is not looked at."""
    outside = root.path.with_name("outside")
    (outside / "cur").mkdir(parents=True)
    (root.path / "before").symlink_to(outside)
    async with watching(root.path) as watcher:
        (root.path / "after").symlink_to(outside)
        (outside / "cur" / "secret").touch()
        (box / "cur" / "a").touch()

        await watcher.until(lambda seen: changed("cur", "a") in seen.all.files)
        assert watcher.all == Changes(files=frozenset({changed("cur", "a")}))


async def test_files_of_other_programs_make_no_mailbox(root: ReplicaRoot, box: Path) -> None:
    """An indexer that keeps its files beside the mail causes no listings."""
    (root.path / ".notmuch").mkdir()
    async with watching(root.path) as watcher:
        (root.path / ".notmuch" / "flintlock").touch()
        (root.path / ".notmuch" / "flintlock").unlink()
        (box / "cur" / "a").touch()

        await watcher.until(lambda seen: changed("cur", "a") in seen.all.files)
        assert watcher.all.mailboxes == frozenset()


@pytest.mark.parametrize("mode", list(WatchMode))
async def test_root_that_goes_away_ends_the_watch_as_away(root: ReplicaRoot, box: Path, mode: WatchMode) -> None:
    """An unmounted disk is an error of its own, not silence."""
    async with watching(root.path, mode) as watcher:
        root.path.rename(root.path.with_name("gone"))

        with pytest.raises(DeviceAwayError):
            await watcher.until(lambda _: False)


@pytest.mark.parametrize("mode", list(WatchMode))
async def test_stop_ends_the_watch_at_once(root: ReplicaRoot, mode: WatchMode) -> None:
    """A daemon that ends does not wait for the next change."""
    stop = asyncio.Event()
    seen = []

    async def consume() -> None:
        async for changes in watch(root.path, stop=stop, mode=mode, poll_interval_s=3600):
            seen.append(changes)
            asyncio.get_running_loop().call_later(0.05, stop.set)

    async with asyncio.timeout(DEADLINE_S):
        start = time.perf_counter()
        await consume()
    assert seen == [OVERFLOW]
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("mode", list(WatchMode))
async def test_cancelled_watch_passes_the_cancellation_on(root: ReplicaRoot, mode: WatchMode) -> None:
    """Cancellation ends a waiting watch."""
    async with watching(root.path, mode) as watcher:
        waiting = asyncio.create_task(watcher.until(lambda _: False))
        await asyncio.sleep(0)
        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiting


@pytest.mark.parametrize(("mode", "expected"), [(WatchMode.AUTO, [True, False]), (WatchMode.POLL, [])])
async def test_whether_files_are_named_is_told(root: ReplicaRoot, mode: WatchMode, expected: list[bool]) -> None:
    """From when on, and from when on no more, however the watch ends."""
    said: list[bool] = []
    async with aclosing(watch(root.path, stop=asyncio.Event(), mode=mode, names_files=said.append)) as changes:
        await anext(changes)
        assert said == expected[:1]

    assert said == expected


async def test_polling_names_the_mailboxes_to_list(root: ReplicaRoot, box: Path) -> None:
    """Without inotify a rename, a new mailbox and a removed one are found by the mtimes of directories."""
    async with watching(root.path, WatchMode.POLL) as watcher:
        (box / "cur" / "a").touch()
        await watcher.until(lambda seen: BOX in seen.all.mailboxes)

        root.create(PurePosixPath("work/Later")).close()
        await watcher.until(lambda seen: PurePosixPath("work/Later") in seen.all.mailboxes)
        assert watcher.all.files == frozenset()


_FALLBACK = """
    import asyncio, sys
    from pathlib import Path
    from syncd.maildir.news.watch import watch

    async def main():
        stop = asyncio.Event()
        root = Path(sys.argv[1])
        said = []
        async for changes in watch(root, stop=stop, poll_interval_s=0.02, names_files=said.append):
            (root / ".work.INBOX" / "cur" / "a").touch()
            if changes.mailboxes:
                print(changes, said)
                stop.set()

    asyncio.run(asyncio.wait_for(main(), 20))
"""


@pytest.mark.parametrize("limit", ["max_inotify_instances", "max_inotify_watches"])
def test_reached_inotify_limit_falls_back_to_sweeps(root: ReplicaRoot, box: Path, limit: str) -> None:
    """Where the kernel gives no watcher or no watch, the mtimes of directories are looked at instead."""
    in_namespace = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    try:
        subprocess.run([*in_namespace, f"echo 0 > /proc/sys/user/{limit}"], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no user namespace can be made here, in which to lower the limit")

    program = [sys.executable, "-c", textwrap.dedent(_FALLBACK), str(root.path)]
    ended = subprocess.run(
        [*in_namespace, f'echo 0 > /proc/sys/user/{limit}; exec "$0" "$@"', *program],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 0, ended.stderr
    assert "watch_fell_back" in ended.stdout
    assert str(BOX) in ended.stdout
    assert "[True, False]" in ended.stdout


_OPENED = """
    import asyncio, sys
    from pathlib import Path
    from syncd.maildir.news.watch import watch

    async def main():
        stop, root = asyncio.Event(), Path(sys.argv[1])
        opened, told, heard = {".work.Inner/cur": ".work.Inner", "work": "work/Box"}, set(), set()
        async for changes in watch(root, stop=stop):
            if changes.is_overflow:
                for directory in opened:
                    (root / directory).chmod(0o700)
            told.update(map(str, changes.mailboxes))
            heard.update(str(changed.directory) for changed in changes.files)
            for number, box in enumerate(opened.values()):
                (root / box / "cur" / f"a{number}").unlink(missing_ok=True)
                (root / box / "cur" / f"a{number}").touch()
            if heard == set(opened.values()):
                print(told)
                stop.set()

    asyncio.run(asyncio.wait_for(main(), 20))
"""


def test_directory_that_becomes_readable_is_told_and_watched(root: ReplicaRoot) -> None:
    """Also cur/ alone; until then it keeps nobody from hearing of all others."""
    for directory, closed in (("work/Box", "work"), (".work.Inner", ".work.Inner/cur")):
        root.create(PurePosixPath(directory)).close()
        (root.path / closed).chmod(0)
    # NOTE: root may look into everything, but not from where it is nobody.
    as_nobody = ["unshare", "--user"] if os.getuid() == 0 else []
    if as_nobody and subprocess.run([*as_nobody, "true"], capture_output=True, timeout=20).returncode:
        pytest.skip("no user namespace can be made here, in which root has no rights of its own")

    program = [sys.executable, "-c", textwrap.dedent(_OPENED), str(root.path)]
    ended = subprocess.run([*as_nobody, *program], capture_output=True, text=True, timeout=60)

    assert ended.returncode == 0, ended.stderr
    assert "watch_fell_back" not in ended.stdout
    assert "'work'" in ended.stdout
    assert "'.work.Inner'" in ended.stdout


def test_sweep_reports_twice_what_changed_once(root: ReplicaRoot, box: Path) -> None:
    """A second change within the tick of a sweep leaves no trace, so the mailbox is named again."""
    sweep = Sweep(root.path)
    assert sweep.changed() == {BOX}
    sweep.changed()
    assert sweep.changed() == frozenset()

    (box / "new" / "a").touch()
    os.utime(box / "new", ns=(1, 1))

    assert [sweep.changed() for _ in range(3)] == [{BOX}, {BOX}, frozenset()]


def test_events_mean_files_mailboxes_or_nothing() -> None:
    """Each event has one meaning, by its place below the root."""
    root = "/srv/mail/laptop"
    found = [
        Event(f"{root}/.work.A/cur", IN_MOVED_TO, "1:2,S"),
        Event(f"{root}/work/B/new", IN_DELETE, "2"),
        Event(f"{root}/work/B/new", IN_MODIFY, "3"),
        Event(f"{root}/work/B/tmp", IN_CREATE, "4"),
        Event(f"{root}/work/C", IN_CREATE, "cur"),
        Event(f"{root}/work/D", IN_CREATE, "tmp"),
        Event(root, IN_MOVED_FROM, ".work.E"),
        Event(root, IN_ATTRIB | IN_ISDIR, ".work.F"),
        Event(f"{root}/.work.F", IN_ATTRIB | IN_ISDIR, ""),
        Event(root, IN_ATTRIB | IN_ISDIR, ".work.K"),
        Event(f"{root}/.work.L", IN_ATTRIB | IN_ISDIR, "new"),
        Event(f"{root}/.work.F", IN_ATTRIB | IN_ISDIR, "tmp"),
        Event(f"{root}/.work.F", IN_ATTRIB, "dovecot-uidlist"),
        Event(f"{root}/.work.G", IN_CREATE, "dovecot-uidlist"),
        Event(f"{root}/.work.H", IN_CREATE, "dovecot-keywords"),
        Event(f"{root}/.work.I/cur", IN_MOVE_SELF, ""),
        Event(f"{root}/.work.J/cur", IN_CREATE, "\udcff"),
        Event(root, IN_CREATE, ".syncd~"),
        Event(root, IN_CREATE, ".syncd.INBOX"),
        Event(root, IN_ATTRIB, ""),
    ]
    files, heard = {".work.G/dovecot-uidlist", ".syncd~"}, {".work.F"}
    asked = {"is_directory": lambda path: str(path) not in files, "is_heard": lambda path: str(path) in heard}

    assert changes_of(found, root=root, **asked) == Changes(
        files=frozenset(
            {
                changed("cur", "1:2,S", PurePosixPath(".work.A"))._replace(is_whole=True),
                gone("new", "2", PurePosixPath("work/B")),
                changed("new", "3", PurePosixPath("work/B"))._replace(is_written=True),
            }
        ),
        mailboxes=frozenset(
            map(PurePosixPath, ("work/C", ".work.E", ".work.I", ".work.J", ".work.K", ".work.L", ".syncd.INBOX"))
        ),
        keyword_lists=frozenset({PurePosixPath(".work.H")}),
    )


def test_file_that_is_renamed_between_two_readings_was_not_put_in_its_place_as_a_whole() -> None:
    """It may be in the middle of being written; after an overflow nobody knows, and later ones are as ever."""

    def heard(before: Changes, *events: Event) -> Changes:
        return changes_of(events, root="/r", is_directory=lambda _: True, is_heard=lambda _: True, before=before)

    went, came = Event("/r/.A/new", IN_MOVED_FROM, "1"), Event("/r/.A/cur", IN_MOVED_TO, "1:2,S")
    first = heard(Changes(), went)
    second = heard(first, came)
    third = heard(second, came)

    whole = [{one.is_whole for one in each.files} for each in (second, third, heard(OVERFLOW, came))]
    assert whole == [{False}, {True}, {False}]


def test_overflow_and_loss_of_the_root_mean_everything() -> None:
    """When the kernel has dropped events, and when the root itself went, everything is to be listed."""

    def meaning(event: Event) -> Changes:
        return changes_of([event], root="/r", is_directory=lambda _: True, is_heard=lambda _: True)

    assert meaning(Event(None, IN_Q_OVERFLOW, "")) == OVERFLOW
    assert meaning(Event("/r", IN_DELETE_SELF, "")) == OVERFLOW
    assert meaning(Event("/r", IN_UNMOUNT, "")) == OVERFLOW


def test_more_than_the_queue_holds_is_told_as_overflow(box: Path) -> None:
    """The kernel says itself that its queue ran over, once somebody reads what it kept."""
    kept = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if kept > 100_000:
        pytest.skip(f"the kernel keeps {kept} events, which takes long to fill")
    with Inotify() as inotify:
        inotify.add(str(box / "cur"))
        for number in range(kept + 1):
            (box / "cur" / f"{number % 2}").touch()

        assert any(event.directory is None for event in inotify.read())


def test_changes_add_up() -> None:
    """Merging loses nothing, and an overflow covers everything."""
    one = Changes(files=frozenset({changed("cur", "a")}))
    two = Changes(mailboxes=frozenset({BOX}))

    assert not Changes()
    assert one | two == Changes(one.files, two.mailboxes)
    assert one | OVERFLOW == OVERFLOW


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /srv/mail rw - nfs4 nas:/mail rw
31 30 0:27 / /srv/mail/my\\040disk rw - ext4 /dev/sdb rw
32 22 0:28 / /home/ana/remote rw - fuse.sshfs ana:/ rw
33 22 0:29 / /home/ana/remote rw master:1 - xfs /dev/sdc rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/srv/mailbox", "ext4"),
        ("/srv/mail", "nfs4"),
        ("/srv/mail/laptop", "nfs4"),
        ("/srv/mail/my disk/laptop", "ext4"),
        ("/home/ana/remote/x", "xfs"),
    ],
)
def test_innermost_and_last_mount_counts(path: str, kind: str) -> None:
    """The file system of a path is that of the mount on top there."""
    mount = mount_of(path, MOUNTS)

    assert mount is not None
    assert (mount.kind, mount.is_shared) == (kind, kind in ("nfs4", "fuse.sshfs"))


def test_local_directory_is_not_shared(tmp_path: Path) -> None:
    """On a disk of this machine inotify hears of everything."""
    assert not is_shared(tmp_path)
