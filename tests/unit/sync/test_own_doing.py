"""What the watch tells of our own doing is looked at by nobody, and what others do always."""

import asyncio
from pathlib import PurePosixPath

import pytest

from syncd.maildir.news.changes import ChangedFile, Changes
from syncd.maildir.news.observe import SeenFile
from syncd.sync.device import own_doing as module
from syncd.sync.device.own_doing import OwnDoing, Place

INBOX = PurePosixPath(".work.INBOX")


def place(filename: str) -> Place:
    return INBOX, SeenFile.of("cur", filename)


def told(*, came: str = "", went: str = "", written: str = "") -> Changes:
    """Return changes of the watch; of each file a letter: its name."""
    files = [ChangedFile(*place(name)) for name in came]
    files += [ChangedFile(*place(name), is_gone=True) for name in went]
    files += [ChangedFile(*place(name), is_written=True) for name in written]
    return Changes(frozenset(files))


async def test_own_rename_is_not_heard_of_and_only_once() -> None:
    """The old name went and the new one came; when the same happens again it was somebody else."""
    own = OwnDoing()
    own.expect(place("a"), is_gone=True)
    own.expect(place("b"))

    assert not own.unexpected(told(went="a", came="b"))
    assert own.unexpected(told(went="a", came="b")) == told(went="a", came="b")


async def test_contrary_of_what_was_expected_is_looked_at() -> None:
    """A file that was delivered and went, one that was removed and came, one that was written into."""
    own = OwnDoing()
    for name in "abc":
        own.expect(place(name), is_gone=name == "b")

    assert own.unexpected(told(went="a", came="b", written="c")) == told(went="a", came="b", written="c")
    assert own.unexpected(told(came="a", went="b")) == told(came="a", went="b")


async def test_file_that_came_and_went_at_once_is_looked_at() -> None:
    """Whoever did one of the two, the other was not ours."""
    own = OwnDoing()
    own.expect(place("a"), is_gone=True)
    own.expect(place("b"))

    both = told(came="ab", went="ab")
    assert own.unexpected(both) == both


async def test_what_was_not_done_is_not_expected() -> None:
    """Where we failed, the same done by others is heard of."""
    own = OwnDoing()
    own.expect(place("a"), is_gone=True)
    own.forget([place("a")])

    assert own.unexpected(told(went="a")) == told(went="a")


async def test_what_is_expected_is_awaited_until_the_watch_has_told_of_it() -> None:
    """By then it has told of what others did before; what was expected before a listing is not waited for."""
    own, since = OwnDoing(), asyncio.get_running_loop().time()
    own.expect(place("a"))

    assert own.is_awaited(INBOX, since=since)
    assert not own.is_awaited(INBOX, since=asyncio.get_running_loop().time() + 1.0)
    assert not own.is_awaited(PurePosixPath(".work.Archive"), since=since)
    own.unexpected(told(came="a"))
    assert not own.is_awaited(INBOX, since=since)


async def test_what_is_expected_again_is_awaited_since_then() -> None:
    """Also where more was expected in between."""
    own = OwnDoing()
    for name in "ab":
        own.expect(place(name))
    await asyncio.sleep(0.001)
    since = asyncio.get_running_loop().time()
    own.expect(place("a"), is_gone=True)

    assert own.is_awaited(INBOX, since=since)
    own.unexpected(told(came="b"))
    assert own.is_awaited(INBOX, since=since)
    own.unexpected(told(went="a"))
    assert not own.is_awaited(INBOX, since=since)


async def test_what_was_forgotten_untold_is_awaited_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many places are no proof that the watch has told of them; a listing is."""
    monkeypatch.setattr(module, "_PLACES_MAX", 2)
    own, since = OwnDoing(), asyncio.get_running_loop().time()
    for name in "abc":
        own.expect(place(name))

    assert own.unexpected(told(came="abc")) == told(came="a")

    assert own.is_awaited(INBOX, since=since)
    assert not own.is_awaited(INBOX, since=asyncio.get_running_loop().time() + 1.0)
