"""Work goes to what needs it: new mail does not wait for old, and what nobody takes costs nothing."""

import asyncio
import threading
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.store.tables import schema
from syncd.sync.imap import next_bodies
from syncd.sync.imap import reading as imap_reading
from syncd.sync.policies import Takers
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap

_WAIT_S = 20.0


async def test_new_mail_comes_during_a_long_first_sync(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mail that comes to INBOX while another mailbox is filled is fetched before that is done."""
    monkeypatch.setattr(next_bodies, "_SLICE_BODIES", 20)
    monkeypatch.setattr(imap_reading, "_GLANCE_S", 0.0)
    user.receive("first")
    user.receive(*(f"old{number}" for number in range(200)), mailbox="Archive")
    async with Tap(user.server.imap_port) as tap:
        asked: list[str] = []

        async def watch(line: bytes) -> None:
            if b"BODY.PEEK[]" in line:
                asked.append(line.split()[3].decode())
                # The newest hundred of Archive have been asked for before.
                if asked[-1].startswith("81:"):
                    user.receive("second")

        tap.before_line = watch
        async with House(tmp_path, accounts={"work": imap(user.server, user.user, port=tap.port)}) as house:
            await house.settle()

            assert house.replica("laptop").keys() == ["first", "second"]
    assert asked.index("81:100") < asked.index("2") < asked.index("1:20")


async def test_bodies_of_new_mail_do_not_wait_for_its_rows(tmp_path: Path, user: Provider) -> None:
    """They are asked for as soon as the server has named them; one that is large waits for its row like all else."""
    user.receive("first")
    may_write, is_asked = threading.Event(), asyncio.Event()
    async with (
        Tap(user.server.imap_port) as tap,
        House(tmp_path, accounts={"work": imap(user.server, user.user, port=tap.port)}) as house,
    ):
        await house.settle()
        user.receive("second")  # the first look of a connection asks for nothing before
        await house.settle()
        held: list[asyncio.Task[bool]] = []

        async def watch(line: bytes) -> None:
            if b"RFC822.SIZE" in line:
                held.append(asyncio.create_task(house.db.write(lambda _: may_write.wait(_WAIT_S))))
            if b"BODY.PEEK[]" in line:
                is_asked.set()

        tap.before_line = watch
        user.receive("third")
        async with asyncio.timeout(_WAIT_S):
            await is_asked.wait()
        assert not held[0].done()
        may_write.set()
        await house.settle()

        assert house.replica("laptop").keys() == ["first", "second", "third"]
    assert [str(uids) for uids in tap.bodies] == ["1", "2", "3"]


async def test_body_that_ends_the_connection_before_its_row_is_recorded(tmp_path: Path, user: Provider) -> None:
    """The next connection records the row first, so that it is found out which message it is."""
    user.receive("first")
    async with (
        Tap(user.server.imap_port) as tap,
        House(tmp_path, accounts={"work": imap(user.server, user.user, port=tap.port)}) as house,
    ):
        await house.settle()
        tap.drops = lambda line: b"BODY.PEEK[]" in line and 2 in tap.bodies[-1]
        user.receive("deadly")
        user.receive("third")
        await house.until(lambda: house.replica("laptop").keys() == ["first", "third"])


async def test_device_that_left_is_not_pushed_for(tmp_path: Path, user: Provider) -> None:
    """What a device changed before it was taken out, or a mailbox was, is no work for anybody."""
    user.receive("a")
    table = {"work": imap(user.server, user.user)}
    async with House(tmp_path, accounts=table, devices=("laptop", "phone")) as house:
        await house.settle()
    devices = {"laptop": {}}, {"laptop": {}, "phone": {"mailboxes": ["*", "!INBOX"]}}, {"laptop": {}, "phone": {}}

    for configured, is_changed in zip(devices, (False, False, True), strict=True):
        async with House(tmp_path, accounts=table, devices=configured) as house:
            await house.settle()
            (phone,) = await house.rows(select(schema.device.c.id).where(schema.device.c.name == "phone"))
            (account,) = await house.rows(select(schema.account.c.id))
            of_phone = schema.replica.c.device_id == phone.id
            raised = schema.replica.update().where(of_phone).values(version=schema.replica.c.version + 1)
            ask = partial(Takers(house.config).changed, account="work", account_id=account.id, now=house.clock())

            found = await house.db.write(lambda conn, raised=raised, ask=ask: (conn.execute(raised), ask(conn))[1])

            assert ("INBOX" in {str(row.name) for row in found}) == is_changed
