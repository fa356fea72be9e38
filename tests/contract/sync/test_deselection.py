"""What a device does not take any more goes from that device alone, and comes back from the store."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from syncd.store.people.report import store_report
from syncd.store.tables import schema
from syncd.store.trees.devices import LEFT
from tests.contract.sync.house import House, Table, pop3
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.selecting import OTHER, as_server_has_it, house_of, names_of, settled
from tests.contract.sync.tap import Tap

WITHOUT: dict[str, tuple[Table, dict[str, Any]]] = {
    "mailboxes of the device": ({"mailboxes": ["*", "!Other"]}, {}),
    "accounts of the device": ({"accounts": []}, {}),
    "mailboxes of the account": ({}, {"mailboxes": ["*", "!Other"]}),
}


@pytest.mark.parametrize("key", WITHOUT)
async def test_deselected_mailbox_goes_from_that_device_only(tmp_path: Path, user: Provider, key: str) -> None:
    """Files and directory go, however many at once; the server and other devices are untouched; no octet is fetched."""
    user.receive(*(f"m{number}" for number in range(40)), mailbox=OTHER, flags=("\\Seen", "todo"))
    user.receive("in")
    laptop, account = WITHOUT[key]
    await settled(house_of(tmp_path, user))
    before, phone = as_server_has_it(user), names_of(house_of(tmp_path, user))

    async with Tap(user.server.imap_port) as tap:
        less = house_of(tmp_path, user, laptop, port=tap.port, **account)
        await settled(less)

        assert before == as_server_has_it(user)
        assert not less.replica("laptop", OTHER).directory.exists()
        if key != "mailboxes of the account":
            assert phone == names_of(less)
        if key != "accounts of the device":
            assert less.replica("laptop").keys() == ["in"]

        again = house_of(tmp_path, user, port=tap.port)
        await settled(again)

        assert before == as_server_has_it(user)
        assert user.flags(OTHER) == again.replica("laptop", OTHER).flags()
        assert tap.bodies == []


@pytest.mark.parametrize("key", WITHOUT)
async def test_mailbox_that_its_server_deletes_when_a_device_gives_it_up_goes_from_that_device(
    tmp_path: Path, user: Provider, key: str
) -> None:
    """Both ask for the same."""
    user.receive("a", "b", mailbox=OTHER)
    user.receive("in")
    await settled(house_of(tmp_path, user))
    laptop, account = WITHOUT[key]
    with user.server.imap(user.user) as client:
        client.delete(OTHER)

    less = house_of(tmp_path, user, laptop, **account)
    await settled(less)

    assert not less.replica("laptop", OTHER).directory.exists()


@pytest.mark.parametrize("key", WITHOUT)
async def test_what_the_server_has_not_heard_of_goes_there_first(tmp_path: Path, user: Provider, key: str) -> None:
    """Flags that changed and files that were added while nobody looked are on the server before they go."""
    user.receive("a", "b", mailbox=OTHER)
    full = house_of(tmp_path, user)
    await settled(full)
    laptop = full.replica("laptop", OTHER)
    laptop.mark("a", add="F")
    (laptop.directory / "cur" / "1700000000.1.laptop:2,S").write_bytes(letter("new"))

    settings, account = WITHOUT[key]
    less = house_of(tmp_path, user, settings, **account)
    await settled(less)

    assert user.flags(OTHER) == {"a": {"\\Flagged"}, "b": frozenset(), "new": {"\\Seen"}}
    if key != "mailboxes of the account":
        assert less.replica("phone", OTHER).flags() == user.flags(OTHER)
    assert not laptop.directory.exists()


async def test_what_went_before_is_no_deletion(tmp_path: Path, user: Provider) -> None:
    """Somebody who removes the directory, or half of the files, and then deselects the mailbox, deletes nothing."""
    user.receive(*"abcd", mailbox=OTHER)
    user.receive(*"efgh", mailbox="More")
    full = house_of(tmp_path, user)
    await settled(full)
    before = as_server_has_it(user), as_server_has_it(user, "More")
    for key in "ab":
        full.replica("laptop", OTHER).find(key).path.unlink()
    full.replica("laptop", "More").directory.rename(tmp_path / "elsewhere")

    less = house_of(tmp_path, user, {"mailboxes": ["INBOX"]})
    async with less:
        await less.settle()
        left = await less.rows(select(schema.replica.c.directory).where(schema.replica.c.selection == LEFT))

    assert {(".work.Other",), (".work.More",)} <= {tuple(row) for row in left}
    assert before == (as_server_has_it(user), as_server_has_it(user, "More"))
    await settled(house_of(tmp_path, user))
    assert full.replica("laptop", OTHER).keys() == list("abcd")
    assert full.replica("laptop", "More").keys() == list("efgh")
    assert before == (as_server_has_it(user), as_server_has_it(user, "More"))


async def test_what_is_not_ours_stays(tmp_path: Path, user: Provider) -> None:
    """Files that nobody knows, and the directory with them, stay where they are, with other mailboxes in it."""
    user.receive("a", mailbox=OTHER)
    user.receive("b", mailbox="Other/Sub")
    full = house_of(tmp_path, user, {"layout": "fs"})
    await settled(full)
    directory = full.replica("laptop", OTHER).directory
    (directory / "notes.txt").write_text("mine")

    await settled(house_of(tmp_path, user, {"layout": "fs", "mailboxes": ["*", "!Other"]}))
    assert (directory / "notes.txt").read_text() == "mine"
    assert full.replica("laptop", OTHER).keys() == []
    assert full.replica("laptop", "Other/Sub").keys() == ["b"]

    (directory / "notes.txt").unlink()
    await settled(house_of(tmp_path, user, {"layout": "fs", "mailboxes": ["*", "!Other"]}))
    assert sorted(path.name for path in directory.iterdir()) == ["Sub"]

    await settled(house_of(tmp_path, user, {"layout": "fs", "mailboxes": ["INBOX"]}))
    assert not directory.exists()


async def test_account_that_is_not_in_the_configuration_keeps_its_files(tmp_path: Path, user: Provider) -> None:
    """Only what a device does not select goes; an account that is taken out of the file pauses."""
    user.receive("a", mailbox=OTHER)
    full = house_of(tmp_path, user)
    await settled(full)
    files = names_of(full, "laptop")

    without = house_of(tmp_path, user)
    without.config.accounts.clear()
    await settled(without)
    assert files == names_of(full, "laptop")


async def test_what_the_server_refuses_stays_until_it_takes_it(tmp_path: Path, user: Provider) -> None:
    """The files that only the device has are left, and shown, whatever else goes; later they go as well."""
    user.receive("a", "b", mailbox=OTHER)
    full = house_of(tmp_path, user)
    await settled(full)
    laptop = full.replica("laptop", OTHER)
    laptop.mark("a", add="F")
    (laptop.directory / "cur" / "1700000000.1.laptop:2,S").write_bytes(letter("new"))
    async with Tap(user.server.imap_port) as tap:
        tap.refuses = lambda line: b" APPEND " in line or b"UID STORE" in line
        house = house_of(tmp_path, user, {"mailboxes": ["INBOX"]}, port=tap.port)
        async with house:
            await house.settle()
            assert laptop.keys() == ["a", "new"]
            report = await house.db.read(lambda conn: store_report(conn, troubles_max=10))
            assert len(report.troubles) == 2
            (shown,) = (one for one in report.replicas if one.new)
            assert (shown.delivered, shown.new) == (1, 1)

            tap.refuses = lambda line: False
            house.shift_s = 86400.0
            await house.settle()
    assert not laptop.directory.exists()
    assert user.flags(OTHER) == {"a": {"\\Flagged"}, "b": frozenset(), "new": {"\\Seen"}}


async def test_mailbox_of_a_pop3_account(tmp_path: Path, user: Provider) -> None:
    """Where the store is the server, mail goes from the device and stays for the others, with what it changed."""
    user.receive("a", "b")
    accounts = {"isp": pop3(user.server, user.user)}
    devices: dict[str, Table] = {"laptop": {"settle": "20ms"}, "phone": {"settle": "20ms"}}
    full = House(tmp_path, accounts=accounts, devices=devices)
    await settled(full)
    laptop, phone = full.replicas(account="isp")
    laptop.mark("a", add="F")
    (laptop.directory / "cur" / "1700000000.1.laptop:2,S").write_bytes(letter("new"))

    less = {**devices, "laptop": {"settle": "20ms", "mailboxes": ["Sent"]}}
    await settled(House(tmp_path, accounts=accounts, devices=less))
    assert not laptop.directory.exists()
    assert phone.flags() == {"a": {"\\Flagged"}, "b": frozenset(), "new": {"\\Seen"}}

    await settled(full)
    assert laptop.flags() == phone.flags()


async def test_mailbox_that_is_not_taken_and_renamed_leaves_its_name_to_another(tmp_path: Path, user: Provider) -> None:
    """The device has no directory that could follow: that is no trouble, and one of the old name can be taken."""
    user.receive("a", mailbox=OTHER)
    await settled(house_of(tmp_path, user))
    await settled(house_of(tmp_path, user, {"mailboxes": ["*", "!Other*"]}))
    with user.server.imap(user.user) as client:
        client.rename(OTHER, "Others")
    house = house_of(tmp_path, user, {"mailboxes": ["*", "!Other*"]})
    async with house:
        await house.settle()
        assert await house.rows(select(schema.device.c.error).where(schema.device.c.error.is_not(None))) == []

    user.receive("b", mailbox=OTHER)
    house = house_of(tmp_path, user, {"mailboxes": ["*", "!Others"]})
    await settled(house)
    assert [one.keys() for one in house.replicas(OTHER)] == [["b"], ["b"]]
    assert [one.keys() for one in house.replicas("Others")] == [[], ["a"]]
