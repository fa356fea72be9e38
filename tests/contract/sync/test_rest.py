"""What is at rest costs no row and no listing, and whatever ends the rest is seen by who asks next."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from syncd.maildir.disk.marker import MARKER
from tests.contract.sync.house import House, imap, pop3
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import add, make, remove

SEEN, FLAGGED = "\\Seen", "\\Flagged"
_RESTS_S = 30.0


def house_of(
    directory: Path, user: Provider, *, port: int | None = None, watches_devices: bool = False, **more: Any
) -> House:
    """Return a house in which nobody hears of what devices do: it is seen by who is asked to look, or not at all."""
    devices = {"laptop": {"settle": "20ms"}, "phone": {"read_only": True}, "nas": {"layout": "fs", "max_age": "365d"}}
    account = imap(user.server, user.user, port=port)
    return House(directory, accounts={"work": account}, devices=devices, watches_devices=watches_devices, **more)


async def rest(house: House) -> None:
    """Ask until a whole pass of everybody asks the store for nothing; AssertionError if none ever does."""
    until = time.monotonic() + _RESTS_S
    while True:
        with statements() as asked:
            await house.ask()
        if not asked:
            return
        assert time.monotonic() < until, asked


async def test_pass_without_news_asks_only_the_server(tmp_path: Path, user: Provider, touched: "_Touched") -> None:
    """One round trip, no row is read or written, no directory listed, and no file opened but the markers."""
    user.receive("a", "b")
    user.receive("c", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        await rest(house)
        written = house.db.writes
        await house.until(lambda: b"IDLE" in tap.lines[-1])  # it follows the answer to who asks
        tap.lines.clear()

        with statements() as asked, touched.below(tmp_path) as names:
            await house.ask()

        assert asked == []
        assert house.db.writes == written
        assert set(names) <= {MARKER, *(str(device.path) for device in house.config.devices.values())}
        assert [line.split()[-1 if line == b"DONE" else 1] for line in tap.lines][:3] == [b"DONE", b"LIST", b"SELECT"]
        assert sum(b"SELECT" in line for line in tap.lines) == 1


async def test_first_look_opens_a_quiet_mailbox_three_times(
    tmp_path: Path, user: Provider, touched: "_Touched"
) -> None:
    """To see that it is there, to read its list of keywords, and to list it; `syncd sync` remembers it for nobody."""
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        await rest(house)

    with touched.below(tmp_path) as names:
        async with house_of(tmp_path, user) as house:
            await house.ask()

    assert names.count(".work.INBOX") == 2 * 3  # of laptop and phone


async def test_pass_without_news_opens_no_file_of_a_watched_device(
    tmp_path: Path, user: Provider, touched: "_Touched"
) -> None:
    """Not even the marker, once the watch can say that nothing has happened; what happens then is seen."""
    user.receive("a")
    async with house_of(tmp_path, user, watches_devices=True) as house:
        await house.settle()
        roots = {str(device.path) for device in house.config.devices.values()}

        names = [MARKER]
        async with asyncio.timeout(_RESTS_S):
            while not roots.issuperset(names):
                with touched.below(tmp_path) as names:
                    await house.ask()

        house.replica("laptop").mark("a", add="F")
        await house.settle()
        assert FLAGGED in user.flags()["a"]


async def test_time_of_a_success_is_recorded_and_ends_nobody_s_rest(tmp_path: Path, user: Provider) -> None:
    """It is written once in a while: who polls every five minutes would never rest, and of many accounts none would."""
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        await rest(house)
        house.shift_s += 300.0

        with statements() as asked:
            await house.ask()
        with statements() as asked_next:
            await house.ask()

        assert any(one.startswith("UPDATE account SET succeeded_at") for one in asked)
        assert not [one for one in asked if one.startswith("SELECT")]
        assert asked_next == []


async def test_poll_of_a_maildrop_without_news_ends_nobody_s_rest(tmp_path: Path, user: Provider) -> None:
    """All would read the store anew, every two minutes, for each account of POP3."""
    user.receive("a")
    async with House(tmp_path, accounts={"isp": pop3(user.server, user.user)}) as house:
        await house.settle()
        house.shift_s += 300.0
        before = house.db.writes

        await house.ask("isp")

        assert house.db.writes == before


async def test_what_a_device_did_is_seen_by_who_asks_next(tmp_path: Path, user: Provider) -> None:
    """Also where the program that did it gives directories back the times that they had."""
    user.receive("a", "b", "c", flags=(SEEN,))
    user.receive("d", mailbox="Archive")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        steps: list[tuple[Callable[[], object], Callable[[], bool]]] = [
            (partial(house.replica("laptop").mark, "a", add="F"), lambda: FLAGGED in user.flags()["a"]),
            (partial(add, house, "laptop", "e"), lambda: "e" in user.flags()),
            (partial(remove, house, "laptop", "b"), lambda: "b" not in user.flags()),
            (partial(make, house, "laptop", "Made"), lambda: "Made" in user.mailboxes()),
            (partial(_marked_with_times_kept, house, "c"), lambda: FLAGGED in user.flags()["c"]),
            (partial(remove, house, "phone", "c"), lambda: house.replica("phone").keys() == ["a", "c", "e"]),
        ]
        for act, is_done in steps:
            await rest(house)
            act()
            await house.settle()
            assert is_done(), act


async def test_what_the_server_did_is_seen_by_who_asks_next(tmp_path: Path, provider: Provider) -> None:
    """In a mailbox that is not selected, so that nobody hears of it; and whether the server can tell or not."""
    provider.receive("a", mailbox="Archive")
    account = imap(provider.server, provider.user)
    async with House(tmp_path, accounts={"work": account}) as house:
        await house.settle()
        replica = house.replica("laptop", "Archive")
        for flag in ("\\Flagged", "\\Answered"):
            for _ in range(3):
                await house.ask()
            provider.store("a", f"+FLAGS ({flag})", mailbox="Archive")
            await house.settle()
            assert flag in replica.flags()["a"]
        for _ in range(3):
            await house.ask()
        provider.receive("b", mailbox="Archive")
        await house.settle()
        assert replica.keys() == ["a", "b"]


def _marked_with_times_kept(house: House, key: str) -> None:
    replica = house.replica("laptop")
    before = {path: path.stat() for path in (replica.directory / "new", replica.directory / "cur")}
    replica.mark(key, add="F")
    for path, found in before.items():
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the statements that any database executes meanwhile."""
    asked: list[str] = []

    def collect(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(" ".join(statement.split()))

    event.listen(Engine, "before_cursor_execute", collect)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", collect)


class _Touched:
    """Hear which directories this process lists and which files it opens."""

    def __init__(self) -> None:
        self._heard: list[str] | None = None
        self._below = Path()
        sys.addaudithook(self._hear)

    @contextmanager
    def below(self, directory: Path) -> Iterator[list[str]]:
        """Collect what is opened by a name without a path, as syncd does below a root, or below this directory."""
        self._below, self._heard = directory, []
        try:
            yield self._heard
        finally:
            self._heard = None

    def _hear(self, event_name: str, arguments: tuple[object, ...]) -> None:
        if self._heard is None or event_name not in {"open", "os.scandir", "os.listdir"}:
            return
        what = arguments[0]
        if event_name != "open":
            self._heard.append(f"listing of {what}")
        elif isinstance(what, str | Path):
            path = Path(what)
            if not path.is_absolute() or path.is_relative_to(self._below):
                self._heard.append(str(what))


@pytest.fixture(scope="session")
def touched() -> _Touched:
    """Return what hears of openings; a hook of the interpreter stays for ever, so there is one."""
    return _Touched()
