"""Edits of a file noticed, in all the ways in which editors and mounts make them."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syncd.config.load import read
from syncd.config.sources import identity_of
from syncd.daemon.control import edits as module
from syncd.daemon.control.edits import Edits, Look, listening
from syncd.daemon.control.edits import look as really_look
from syncd.maildir.system.inotify import Event

DEADLINE_S = 20.0
NEVER_S = 3600.0


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that gets longer by one with each look at a file."""
    done: list[Path] = []

    def look(path: Path) -> Look:
        found = really_look(path)
        done.append(path)
        return found

    monkeypatch.setattr(module, "look", look)
    return done


def write_in_place(file: Path) -> None:
    file.write_text("another = true\n")


def rename_over(file: Path) -> None:
    """Do what vim, sed -i and Emacs do."""
    new = file.with_name(".syncd.toml.swp")
    new.write_text("another = 1\n")
    new.replace(file)


def move_away_and_write(file: Path) -> None:
    """Do what an editor does that keeps a backup."""
    file.rename(file.with_name("syncd.toml~"))
    file.write_text("a = 1\n")


def remove(file: Path) -> None:
    file.unlink()


def touch(file: Path) -> None:
    """Write the same again: it is read again, which does no harm."""
    os.utime(file, ns=(1, 1))


def change_rights(file: Path) -> None:
    """Let another read it, who could not; nothing but its time of change says so."""
    file.chmod(0o600)


def link_elsewhere(file: Path) -> None:
    target = file.with_name("target.toml")
    target.write_text("a = 2\n")
    link = file.with_name("link")
    link.symlink_to(target)
    link.replace(file)


async def noticed(file: Path, edit: Callable[[], object], *, is_heard: bool) -> None:
    """Return when an edit of a file is noticed; is_heard: that the kernel told of it."""
    edits = edits_of(file, is_heard=is_heard)
    async with asyncio.timeout(DEADLINE_S):
        if not is_heard:
            edit()
            await edits.wait()
            return
        async with listening(edits):
            await until_listening(edits, file)
            waiting = asyncio.create_task(edits.wait())
            edit()
            await waiting


async def until_listening(edits: Edits, file: Path) -> None:
    """Return when the watch tells of edits: nobody looks by himself."""
    waiting = asyncio.create_task(edits.wait())
    number = 0
    while not waiting.done():
        file.write_text("#" * number)  # noqa: ASYNC240 - a few octets
        number += 1
        await asyncio.wait({waiting}, timeout=0.1)
    await edits.know()


def edits_of(file: Path, *, is_heard: bool) -> Edits:
    known = identity_of(file.stat()) if file.exists() else None
    return Edits(lambda: (file,), known={file: known}, poll_s=NEVER_S if is_heard else 0.01, settle_s=0.01)


@pytest.mark.parametrize(
    "edit",
    [write_in_place, rename_over, move_away_and_write, remove, touch, change_rights, link_elsewhere],
    ids=lambda one: one.__name__,
)
@pytest.mark.parametrize("is_heard", [True, False], ids=["heard", "looked for"])
async def test_edit_is_noticed(tmp_path: Path, edit: Callable[[Path], None], is_heard: bool) -> None:
    """By the kernel's word at once, and where that does not reach (NFS, a bind mount) by the next look."""
    file = tmp_path / "syncd.toml"
    file.write_text("a = 0\n")

    await noticed(file, lambda: edit(file), is_heard=is_heard)


@pytest.mark.parametrize("is_heard", [True, False], ids=["heard", "looked for"])
async def test_exchanged_directory_of_a_mount_is_noticed(tmp_path: Path, is_heard: bool) -> None:
    """Kubernetes exchanges a link beside which the name in the configuration stays what it is."""
    for number in ("1", "2"):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "syncd.toml").write_text(f"a = {number}\n")
    (tmp_path / "..data").symlink_to("..1")
    file = tmp_path / "syncd.toml"
    file.symlink_to("..data/syncd.toml")

    def exchange() -> None:
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    await noticed(file, exchange, is_heard=is_heard)


async def test_target_of_a_link_that_is_edited_is_heard_of(tmp_path: Path) -> None:
    """A file among somebody's dotfiles is edited where it is."""
    target = tmp_path / "dotfiles" / "syncd.toml"
    target.parent.mkdir()
    target.write_text("a = 0\n")
    file = tmp_path / "config" / "syncd.toml"
    file.parent.mkdir()
    file.symlink_to(target)

    await noticed(file, lambda: write_in_place(target), is_heard=True)


async def test_file_that_is_known_and_others_beside_it_are_no_edit(tmp_path: Path, looks: list[Path]) -> None:
    """What was read is not read again for the sake of its neighbours."""
    file = tmp_path / "syncd.toml"
    edits = edits_of(file, is_heard=False)
    file.write_text("a = 0\n")
    await edits.know()

    (tmp_path / "notes").write_text("x")
    waiting, so_far = asyncio.create_task(edits.wait()), len(looks)
    async with asyncio.timeout(DEADLINE_S):
        while len(looks) < so_far + 3:  # noqa: ASYNC110 - nothing signals what a test looks at
            await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_store_beside_the_file_is_written_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each commit would otherwise wake the daemon several times for nothing."""
    heard: list[str] = []

    class Listened(module.Inotify):
        def read(self) -> Iterator[Event]:
            for event in super().read():
                heard.append(event.name)
                yield event

    monkeypatch.setattr(module, "Inotify", Listened)
    file = tmp_path / "syncd.toml"
    file.write_text("a = 0\n")
    with (tmp_path / "syncd.db-wal").open("wb", buffering=0) as store:
        async with asyncio.timeout(DEADLINE_S), listening(edits := edits_of(file, is_heard=True)):
            waiting = asyncio.create_task(edits.wait())
            for _ in range(20):
                store.write(b"x")
            write_in_place(file)
            await waiting

    assert {"syncd.toml"} == set(heard)


async def test_edit_between_the_start_and_the_first_look_is_noticed(tmp_path: Path) -> None:
    """To open a store may take a while."""
    file = tmp_path / "syncd.toml"
    file.write_text("")
    file.chmod(0o600)
    known = read(file, environ={"HOME": str(tmp_path)}, needs_logins=True).read
    rename_over(file)

    async with asyncio.timeout(DEADLINE_S):
        await Edits(lambda: (file,), known=known, poll_s=0.01, settle_s=0.01).wait()


async def test_file_that_is_still_being_written_is_waited_for(tmp_path: Path, looks: list[Path]) -> None:
    """A half of an edit is not read: it counts once it stayed as it is."""
    file = tmp_path / "syncd.toml"
    edits = Edits(lambda: (file,), known={file: None}, poll_s=0.01, settle_s=0.01)
    before_look = module.look

    def look_while_it_grows(path: Path) -> Look:
        if len(looks) < 12:
            file.write_text("x" * (len(looks) + 1))
        return before_look(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "look", look_while_it_grows)
        async with asyncio.timeout(DEADLINE_S):
            await edits.wait()

    assert len(looks) == 13
    assert len(file.read_text()) == 12


async def test_directory_that_is_not_there_yet_is_looked_for(tmp_path: Path) -> None:
    """That it cannot be watched is no error."""
    file = tmp_path / "later" / "syncd.toml"
    edits = edits_of(file, is_heard=False)

    async with asyncio.timeout(DEADLINE_S), listening(edits):
        waiting = asyncio.create_task(edits.wait())
        file.parent.mkdir()
        file.write_text("a = 0\n")
        await waiting
