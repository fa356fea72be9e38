"""What a device did to mail counts for what its maildrop lists again; the maildrop is drained and stays so."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import select

from syncd.store.tables import schema
from tests.contract.sync.house import House, pop3
from tests.contract.sync.letters import letter
from tests.contract.sync.pop3_devices import DEVICES, QUICK, assert_everywhere, move, on, remove
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap
from tests.servers.dovecot import HOST
from tests.unit.pop3.scripted import Mail, Reply, ScriptedServer, Session

SEEN, FLAGGED = "\\Seen", "\\Flagged"


async def test_copy_that_is_left_in_the_maildrop_brings_nothing_back(tmp_path: Path, user: Provider) -> None:
    """Where a server did not delete what was taken, a device's deletion stays one when it does."""
    user.receive("a", "b", "c")
    async with Tap(user.server.pop3_port) as tap:
        tap.drops = lambda line: line.startswith(b"DELE")
        account = pop3(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"isp": account}, devices=dict.fromkeys(DEVICES, QUICK)) as house:
            await house.until(lambda: all(len(one.keys()) == 3 for one in house.replicas(account="isp")))

            remove(house, "laptop", "a")
            move(house, "phone", "b", "Sent")
            await house.until(lambda: on(house, "nas", "Trash").keys() == ["a"])
            remove(house, "nas", "a", mailbox="Trash")
            await house.until(lambda: on(house, "laptop", "Sent").keys() == ["b"])
            assert user.left_on_pop3() == 3
            tap.drops = lambda line: False
            await house.settle()

            assert user.left_on_pop3() == 0
            assert_everywhere(house, "INBOX", "c")
            assert_everywhere(house, "Sent", "b")
            assert_everywhere(house, "Trash")


async def test_half_a_message_that_was_moved_becomes_whole_where_it_is(tmp_path: Path) -> None:
    """What a device did to it counts for the whole one: where it is, and what a person marked."""
    async with halved(tmp_path) as (house, mend):
        move(house, "laptop", "h", "Sent")
        on(house, "phone").mark("m", add="FS")
        await house.until(lambda: on(house, "nas", "Sent").keys() == ["h"])
        await house.until(lambda: on(house, "nas").flags()["m"] == {FLAGGED, SEEN})
        await mend()

        assert_everywhere(house, "Sent", "h")
        assert_everywhere(house, "INBOX", "k", "m")
        assert {lines_of(one, "h") for one in house.replicas("Sent", account="isp")} == {3}
        assert {lines_of(one, "m") for one in house.replicas(account="isp")} == {3}
        assert on(house, "laptop").flags()["m"] == {FLAGGED}


async def test_half_a_message_that_was_deleted_stays_so(tmp_path: Path) -> None:
    """The whole one is in Trash, or nowhere but in the store if it went from there."""
    async with halved(tmp_path) as (house, mend):
        remove(house, "laptop", "h", "m")
        await house.until(lambda: all(on(house, device, "Trash").keys() == ["h", "m"] for device in DEVICES))
        remove(house, "nas", "m", mailbox="Trash")
        await house.until(lambda: on(house, "phone", "Trash").keys() == ["h"])
        await mend()

        assert_everywhere(house, "INBOX", "k")
        assert_everywhere(house, "Trash", "h")
        assert {lines_of(one, "h") for one in house.replicas("Trash", account="isp")} == {3}
        assert len(await house.rows(select(schema.body.c.id))) == 5


@asynccontextmanager
async def halved(directory: Path) -> AsyncIterator[tuple[House, Callable[[], Awaitable[None]]]]:
    """Yield a house whose devices have a message and two by half, and what makes the server give them whole."""
    is_whole = False

    def shorten(_: Session, line: str) -> Reply | None:
        if line in {"RETR 1", "RETR 2"} and not is_whole:
            half = letter("hm"[int(line[5:]) - 1], lines=1)
            return Reply(b"+OK\r\n" + half + b".\r\n")
        return None

    async with ScriptedServer([Mail(key, letter(key)) for key in "hmk"], hook=shorten) as server:
        where = {"host": HOST, "port": server.endpoint().port, "tls": "none"}
        account = {"type": "pop3", "username": "ana", "password": "secret", **where}
        async with House(directory, accounts={"isp": account}, devices=dict.fromkeys(DEVICES, QUICK)) as house:
            await house.until(lambda: all(one.keys() == ["h", "k", "m"] for one in house.replicas(account="isp")))
            assert {lines_of(one, key) for one in house.replicas(account="isp") for key in "hm"} == {1}

            async def mend() -> None:
                nonlocal is_whole
                is_whole = True
                await house.settle()
                assert server.mails == []

            yield house, mend


def lines_of(replica: Replica, key: str) -> int:
    return replica.find(key).octets.count(b"line ")
