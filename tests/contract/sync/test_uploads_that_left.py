"""What a device put into a mailbox, and others took out of there before anybody looked, is not put there again."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.store.tables.own_tables import history
from syncd.store.tables.schema import journal
from tests.contract.sync.house import House, MakeDovecot
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.test_device_moves import copy, move
from tests.contract.sync.test_restore import bring_back
from tests.contract.sync.three_devices import TWO, add, assert_everywhere, house_of
from tests.servers.capabilities import NO_QRESYNC

FLAGGED, SEEN = "\\Flagged", "\\Seen"
_LATE_S = 6.0
_WITHIN_S = 30.0
_TAKING = (b" APPEND ", b" UID COPY ", b" UID MOVE ")


class WebMail:
    """Do something between the answer to a command that takes a message into Archive and the next look there."""

    def __init__(self, tap: Tap, act: Callable[[], None], *, once: Callable[[], bool], breaks: bool = False) -> None:
        """Act once the message is there; breaks: the connection ends instead of that look."""
        self.has_acted = False
        self._act, self._once = act, once
        self._is_taken = False
        tap.before_line = self._hear
        losses = iter([breaks])
        tap.drops = lambda line: self._is_look(line) and next(losses, False)

    async def _hear(self, line: bytes) -> None:
        self._is_taken |= any(command in line for command in _TAKING)
        if self._is_look(line) and not self.has_acted:
            await asyncio.to_thread(self._wait_and_act)
            self.has_acted = True

    def _is_look(self, line: bytes) -> bool:
        return self._is_taken and b' SELECT "Archive"' in line

    def _wait_and_act(self) -> None:
        until = time.monotonic() + _WITHIN_S
        while not self._once():  # the server does it meanwhile
            assert time.monotonic() < until
        self._act()


def put(house: House, key: str) -> Path:
    """Add a letter that no mailbox has."""
    return add(house, "laptop", key, mailbox="Archive")


async def until_told(house: House, web: WebMail) -> None:
    """Return when a message was put behind `old`, which only the server's answer says."""
    await house.until(lambda: web.has_acted)
    await house.until_read(lambda found: found == [2], select(journal.c.told_uid))


def fill(user: Provider) -> None:
    user.receive("a", flags=(SEEN,))
    user.receive("old", mailbox="Archive")
    user.receive("other", mailbox="Other")


@pytest.mark.parametrize("how", [put, copy, move])
async def test_what_was_moved_on_before_it_was_seen_is_only_there(
    tmp_path: Path, user: Provider, how: Callable[[House, str], Path]
) -> None:
    """And what its device does to it meanwhile goes with it, as after any move."""
    key = "n" if how is put else "a"
    fill(user)
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        web = WebMail(
            tap,
            partial(user.move, key, mailbox="Archive", to="Other"),
            once=lambda: key in user.flags("Archive"),
        )

        how(house, key)
        await until_told(house, web)
        house.replica("laptop", "Archive").mark(key, add="F")
        await house.ask("laptop")
        house.shift_s = _LATE_S
        await house.settle()

        assert_everywhere(house, user, "Archive", "old")
        assert_everywhere(house, user, "Other", key, "other")
        assert_everywhere(house, user, "INBOX", *([] if how is move else ["a"]))
        assert user.flags("Other")[key] == {SEEN, FLAGGED}


async def test_what_was_deleted_before_it_was_seen_is_deleted_and_can_be_restored(
    tmp_path: Path, user: Provider
) -> None:
    """Also if the connection is lost between the answer and the look, and somebody else asks after a restart."""
    fill(user)
    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port, devices=TWO)
        async with house:
            await house.settle()
            delete = partial(user.expunge, "n", mailbox="Archive")
            web = WebMail(tap, delete, once=lambda: "n" in user.flags("Archive"), breaks=True)
            put(house, "n")
            await until_told(house, web)
            assert house.replica("laptop", "Archive").keys() == ["n", "old"]
        house.shift_s = _LATE_S
        async with house:
            await house.settle()

            assert_everywhere(house, user, "Archive", "old")
            rows = await house.rows(select(history.c.verb).order_by(history.c.id.desc()).limit(3))
            assert [row.verb for row in rows][::-1] == ["append", "vanish", "remove"]

            await bring_back(house, "<n@example.org>")
            await house.settle()
            assert_everywhere(house, user, "Archive", "n", "old")


async def test_what_a_server_takes_and_drops_because_it_has_another_is_not_taken_for_deleted(
    tmp_path: Path, user: Provider
) -> None:
    """Gmail gives a UID to a second version of a message, and keeps the first."""
    fill(user)
    newer = letter("old").replace(b"about old", b"about old, once more")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        # NOTE: of two that have one key, the provider knows the newer one.
        drop = partial(user.expunge, "old", mailbox="Archive")
        web = WebMail(tap, drop, once=lambda: len(user.bodies("Archive")) == 2)

        add(house, "laptop", "old", mailbox="Archive", octets=newer)
        await until_told(house, web)
        house.shift_s = _LATE_S
        await house.settle()

        assert user.bodies("Archive") == (letter("old"), newer)
        assert [one.keys() for one in house.replicas("Archive")] == [["old", "old"]] * 3


async def test_what_was_seen_beside_others_and_deleted_at_once_is_deleted(
    tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str
) -> None:
    """A server that does not tell what is gone has a count that tells it, but nobody had counted this one yet."""
    provider = Provider(make_dovecot(capability=NO_QRESYNC), mail_user)
    fill(provider)
    async with Tap(provider.server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port, devices=TWO) as house:
        await house.settle()
        receive = partial(provider.receive, "x", mailbox="Archive")
        expunge = partial(provider.expunge, "n", mailbox="Archive")
        deeds = [(b" APPEND ", receive), (b' SELECT "Archive"', expunge)]

        async def meddle(line: bytes) -> None:
            if deeds and deeds[0][0] in line and await asyncio.to_thread(is_time):
                await asyncio.to_thread(deeds.pop(0)[1])

        def is_time() -> bool:
            return len(deeds) == 2 or "n" in provider.flags("Archive")

        tap.before_line = meddle
        put(house, "n")
        await house.settle()

        assert not deeds
        assert_everywhere(house, provider, "Archive", "old", "x")
