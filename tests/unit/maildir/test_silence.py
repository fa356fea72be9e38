"""A silence of a watch lasts as long as nothing happens, and is over before anything that happened can be missed."""

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from syncd.maildir.disk.dovecot import KEYWORDS
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.news import watch as watch_module
from syncd.maildir.news.changes import Changes
from syncd.maildir.news.last_look import LastLook, Since
from syncd.maildir.news.silence import Ear, Silence
from syncd.maildir.news.watch import WatchMode, directories_to_watch, watch
from syncd.maildir.system.inotify import Event, Inotify

_WITHIN_S = 20.0
_BOX = PurePosixPath(".work.INBOX")
_LATER = PurePosixPath(".work.Later")


class Listener:
    """Look at a root that a watch listens to, keep the silences, and count the proofs that were asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.look = LastLook(path)
        self.look.begin_anew()
        self.silences: list[Silence] = []
        self.proofs = 0
        self.told = Changes()

    def hear(self, silence: Silence) -> None:
        if silence not in self.silences:
            self.silences.append(silence)
        self.look.hear(silence)

    async def take(self, changes: AsyncIterator[Changes]) -> None:
        async for changed in changes:
            self.told |= changed

    def since(self) -> Since:
        with ReplicaRoot(self.path) as root:
            return self.look.compare(root, self._prove)

    def is_as_it_was(self) -> bool:
        return self.since() is Since.NOTHING

    def _prove(self, _: ReplicaRoot) -> None:
        self.proofs += 1

    async def until_silent(self, *, after: int = 0) -> Silence:
        """Return a silence that lasts, of those after the first so many, once the root is known since before it."""
        await _until(lambda: len(self.silences) > after and self.silences[-1].lasts() and self.is_as_it_was())
        return self.silences[-1]


@asynccontextmanager
async def _listening(path: Path, mode: WatchMode = WatchMode.AUTO) -> AsyncIterator[Listener]:
    listener = Listener(path)
    changes = watch(path, stop=asyncio.Event(), mode=mode, poll_interval_s=0.02, on_silence=listener.hear)
    async with aclosing(changes):
        await anext(changes)
        taking = asyncio.create_task(listener.take(changes))
        try:
            yield listener
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WITHIN_S):
        while not holds():  # noqa: ASYNC110 - what a thread heard has no event
            await asyncio.sleep(0.005)


def _until_over(silence: Silence) -> None:
    """Wait while nothing is gathered in the event loop."""
    until = time.monotonic() + _WITHIN_S
    while not silence.is_over:
        assert time.monotonic() < until, "the watch has heard nothing"


@pytest.fixture
def box(root: ReplicaRoot) -> Path:
    root.create(_BOX).close()
    (root.path / _BOX / "cur" / "a:2,").touch()
    (root.path / _BOX / KEYWORDS).write_text("0 one\n")
    return root.path / _BOX


async def test_who_asks_a_silence_asks_no_disk(tmp_path: Path, root: ReplicaRoot, box: Path) -> None:
    """Where all is heard, that is: a list of keywords may be written under another name, a link may lead elsewhere."""
    link = tmp_path / "link"
    link.symlink_to(root.path)
    async with _listening(link) as listener:
        await listener.until_silent()
        assert not listener.look.is_silent()

    (box / KEYWORDS).unlink()
    async with _listening(link) as listener:
        await listener.until_silent()
        assert listener.look.is_silent()
        link.unlink()
        link.symlink_to(tmp_path)
        assert not listener.look.is_silent()
        link.unlink()
        link.symlink_to(root.path)
        assert listener.look.is_silent()
        (box / "cur" / "a:2,").rename(box / "cur" / "a:2,S")
        assert not listener.look.is_silent()


@pytest.mark.parametrize("is_taken", [False, True])
def test_what_happens_ends_a_silence(root: ReplicaRoot, box: Path, is_taken: bool) -> None:
    """It need not be heard of for that; nor can it be missed while it is heard of, and not yet handed on."""
    with Inotify() as inotify:
        inotify.add(str(box / "cur"))
        silence = Silence(Ear(inotify.fileno()), place=root.place(), directories=frozenset())
        assert silence.lasts()

        (box / "cur" / "a:2,").rename(box / "cur" / "a:2,S")
        if is_taken:
            silence.end()
            assert len(list(inotify.read())) == 2
        assert not silence.lasts()
        list(inotify.read())
        assert not silence.lasts()


async def test_write_in_place_that_is_not_told_yet_is_waited_for(root: ReplicaRoot, box: Path) -> None:
    """It changes the times of no directory."""
    async with _listening(root.path) as listener:
        silence = await listener.until_silent()
        with (box / "cur" / "a:2,").open("a") as file:
            file.write("more")

        assert listener.since() is Since.TOLD
        assert not silence.lasts()
        await _until(lambda: listener.look.is_all_told)
        assert {changed.file.filename for changed in listener.told.files if changed.is_written} == {"a:2,"}


def test_silence_after_a_mount_is_no_sequel(box: Path) -> None:
    """Nor is one of another watch: who knows what happened between them."""
    with Inotify() as inotify:
        ear = Ear(inotify.fileno())
        before, other = (Silence(one, place=(0, 0), directories=frozenset()) for one in (ear, Ear(inotify.fileno())))
        assert Silence(ear, place=(0, 0), directories=frozenset()).follows(before)
        assert not other.follows(before)
        ear.mounts += 1
        assert not Silence(ear, place=(0, 0), directories=frozenset()).follows(before)


_MOUNTED = """
    import subprocess, sys
    from pathlib import Path
    from syncd.maildir.system.inotify import Inotify
    from syncd.maildir.news.silence import Ear, Silence

    with Inotify() as inotify:
        inotify.add(sys.argv[1])
        ear = Ear(inotify.fileno())
        silence = Silence(ear, place=(0, 0), directories=frozenset())
        assert silence.lasts()
        subprocess.run(["mount", "-t", "tmpfs", "none", sys.argv[1]], check=True)
        assert not silence.lasts()
        after = Silence(ear, place=(0, 0), directories=frozenset())
        assert after.lasts() and not after.follows(silence)
"""


def test_mount_ends_a_silence(box: Path) -> None:
    """Inotify stays with the directory that is hidden from then on."""
    in_namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run([*in_namespace, "mount", "-t", "tmpfs", "none", str(box)], check=True, timeout=20)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no namespace can be made here, in which to mount something")

    program = [sys.executable, "-c", textwrap.dedent(_MOUNTED), str(box)]
    ended = subprocess.run([*in_namespace, *program], capture_output=True, text=True, timeout=60)

    assert ended.returncode == 0, ended.stderr


async def test_look_asks_no_directory_while_a_silence_lasts(
    root: ReplicaRoot, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only lists of keywords, which a program may write under another name, of which no directory hears."""
    async with _listening(root.path) as listener:
        await listener.until_silent()
        asked: list[object] = []
        stat = os.stat

        def counted(path: str, **options: Any) -> os.stat_result:
            if "dir_fd" in options:  # else it is the watch, which looks now and then whether the root is the same
                asked.append(path)
            return stat(path, **options)

        monkeypatch.setattr(os, "stat", counted)

        assert listener.is_as_it_was()

        assert asked == [f"./{_BOX}/{KEYWORDS}"]


async def test_root_is_proven_again_once_anything_has_happened_in_it(root: ReplicaRoot, box: Path) -> None:
    """The marker is a name like others in it: nobody replaced it while the silence lasted."""
    async with _listening(root.path) as listener:
        await listener.until_silent()
        proofs = listener.proofs
        assert listener.is_as_it_was()
        assert listener.proofs == proofs

        (root.path / ".syncd").touch()
        listener.is_as_it_was()
        assert listener.proofs == proofs + 1


async def test_look_sees_what_was_heard_of_and_is_not_told_yet(
    root: ReplicaRoot, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread may be done with an event before the event loop has it; it ends the silence before it has any."""
    were_over: list[bool] = []
    read = Inotify.read
    async with _listening(root.path) as listener:
        silence = await listener.until_silent()

        def noted(self: Inotify) -> Iterator[Event]:
            were_over.append(silence.is_over)
            return read(self)

        monkeypatch.setattr(Inotify, "read", noted)
        (box / "cur" / "a:2,").rename(box / "cur" / "a:2,S")

        _until_over(silence)
        assert not listener.is_as_it_was()
        await _until(lambda: bool(were_over))
        assert all(were_over)


async def test_all_is_told_once_there_is_silence_again(root: ReplicaRoot, box: Path) -> None:
    """Then what was told is all that happened, and nothing else need be looked at; but not before that."""
    async with _listening(root.path) as listener:
        silence = await listener.until_silent()
        assert listener.look.is_all_told
        (box / "cur" / "a:2,").rename(box / "cur" / "a:2,S")
        (box / "cur" / "b").touch()

        assert (listener.since(), listener.look.is_all_told) == (Since.TOLD, False)
        await _until(lambda: listener.look.is_all_told)
        assert {changed.file.filename for changed in listener.told.files} == {"a:2,", "a:2,S", "b"}
        assert not silence.lasts()
        assert listener.since() is Since.TOLD  # the last look began in a silence that was over
        assert listener.is_as_it_was()


async def test_nothing_is_told_of_a_directory_that_was_not_there(root: ReplicaRoot, box: Path) -> None:
    """Lists of keywords in it, for one, nobody has looked at, and no watch may hear of what is written there."""
    async with _listening(root.path) as listener:
        await listener.until_silent()
        (root.path / _LATER / "cur").mkdir(parents=True)
        await _until(lambda: str(root.path / _LATER / "cur") in listener.silences[-1].directories)

        assert (listener.since(), listener.look.is_all_told) == (Since.UNKNOWN, True)


async def test_nothing_is_told_where_more_than_names_is_to_be_seen(root: ReplicaRoot, box: Path) -> None:
    async with _listening(root.path) as listener:
        await listener.until_silent()
        listener.look.forget()

        assert listener.since() is Since.UNKNOWN


async def test_look_sees_a_list_of_keywords_written_under_another_name(root: ReplicaRoot, box: Path) -> None:
    """A hard link elsewhere: no directory that is listened to hears of it."""
    other = root.path.with_name("other")
    other.hardlink_to(box / KEYWORDS)
    async with _listening(root.path) as listener:
        silence = await listener.until_silent()
        other.write_text("0 two\n")

        assert silence.lasts()
        assert listener.since() is Since.UNKNOWN


async def test_look_sees_another_root(root: ReplicaRoot, box: Path) -> None:
    """The watch listens to the directory that was the root, where all may be quiet."""
    (box / KEYWORDS).unlink()
    link, other = root.path.with_name("link"), root.path.with_name("other")
    link.symlink_to(root.path)
    (other / _BOX / "cur").mkdir(parents=True)
    async with _listening(link) as listener:
        await listener.until_silent()
        link.with_name("link~").symlink_to(other)
        link.with_name("link~").replace(link)

        assert listener.since() is Since.UNKNOWN


async def test_directory_made_before_anybody_listens_to_it_is_in_no_silence(
    root: ReplicaRoot, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is one that is made later, until a watch listens to it; what is heard of it ends the silence."""
    looks = 0

    def looked(path: Path) -> frozenset[str]:
        nonlocal looks
        found, looks = directories_to_watch(path), looks + 1
        if looks == 1:
            root.create(_LATER).close()
        return found

    monkeypatch.setattr(watch_module, "directories_to_watch", looked)
    async with _listening(root.path) as listener:
        silence = await listener.until_silent()

        assert all(str(root.path / _LATER / "cur") in one.directories for one in listener.silences)
        (root.path / _LATER / "cur" / "a").touch()
        assert not silence.lasts()


async def test_silence_of_a_watch_that_is_relieved_is_over(root: ReplicaRoot, box: Path) -> None:
    """It does not listen to what was made; its successor does, in a silence of its own."""
    async with _listening(root.path) as listener:
        before = await listener.until_silent()
        (root.path / _LATER / "cur").mkdir(parents=True)
        await _until(lambda: str(root.path / _LATER / "cur") in listener.silences[-1].directories)

        await listener.until_silent()
        assert not before.lasts()


async def test_sweeps_know_of_no_silence(root: ReplicaRoot, box: Path) -> None:
    """Nothing tells them at once, so that the times of directories are asked as ever."""
    async with _listening(root.path, WatchMode.POLL) as listener:
        await _until(listener.is_as_it_was)
        (box / "cur" / "a:2,").rename(box / "cur" / "a:2,S")

        assert not listener.silences
        assert not listener.is_as_it_was()
