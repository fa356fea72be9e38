"""Work goes to what needs it: new mail does not wait for old, and what nobody takes costs nothing."""

from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.store import schema
from syncd.sync import imap_mailbox, imap_reading
from syncd.sync.policies import Takers
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap


async def test_new_mail_comes_during_a_long_first_sync(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mail that comes to INBOX while another mailbox is filled is fetched before that is done."""
    monkeypatch.setattr(imap_mailbox, "_BODIES_AT_ONCE", 20)
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
