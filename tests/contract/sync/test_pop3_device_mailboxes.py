"""A mailbox that a device makes for a POP3 account is on every device, and none is deleted by an absence."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.store.tables import schema
from tests.contract.sync.house import House, imap, pop3
from tests.contract.sync.pop3_devices import add, assert_everywhere, house_of, make, move, on
from tests.contract.sync.provider import Provider


@pytest.mark.parametrize("layout", ["maildir++", "fs"])
async def test_mailbox_made_on_a_device_is_on_all(tmp_path: Path, user: Provider, layout: str) -> None:
    """With the mail that is put into it, also when it is empty; messages that are moved there are moved."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, laptop={"layout": layout}) as house:
        await house.settle()

        make(house, "laptop", "Archive/\u00dcber 2025")
        await house.until(on(house, "phone", "Archive/\u00dcber 2025").directory.is_dir)
        make(house, "laptop", "Lists")
        move(house, "laptop", "a", "Lists")
        add(house, "laptop", "n", mailbox="Lists")
        await house.until(lambda: on(house, "phone", "Lists").keys() == ["a", "n"])
        await house.settle()

        assert_everywhere(house, "Lists", "a", "n")
        assert_everywhere(house, "INBOX", "b")
        assert_everywhere(house, "Trash")
        add(house, "phone", "m", mailbox="Archive/\u00dcber 2025")
        await house.settle()
        assert_everywhere(house, "Archive/\u00dcber 2025", "m")


async def test_mailbox_made_on_a_device_that_is_not_watched(tmp_path: Path, user: Provider) -> None:
    """It is found by the next sweep, or by who asks."""
    async with house_of(tmp_path, user, laptop={"watch": "poll"}) as house:
        await house.settle()

        make(house, "laptop", "Lists")
        add(house, "laptop", "n", mailbox="Lists")
        await house.until(lambda: on(house, "phone", "Lists").keys() == ["n"])
        make(house, "laptop", "More")
        await house.settle()

        assert on(house, "nas", "More").directory.is_dir()


async def test_mailbox_that_two_devices_make_is_one(tmp_path: Path, user: Provider) -> None:
    """While nobody looked, each with mail of its own; the UIDVALIDITY of every mailbox is another, and stays."""
    house = house_of(tmp_path, user)
    columns = schema.mailbox.c
    async with house:
        await house.settle()
        before = {row.name: row.uidvalidity for row in await house.rows(select(columns.name, columns.uidvalidity))}
    for device in ("laptop", "phone"):
        make(house, device, "Lists")
        add(house, device, device, mailbox="Lists")
    house.shift_s = -86400.0
    async with house:
        await house.settle()

        assert_everywhere(house, "Lists", "laptop", "phone")
        after = {row.name: row.uidvalidity for row in await house.rows(select(columns.name, columns.uidvalidity))}
        assert after.items() > before.items()
        assert after["Lists"] > max(before.values())


async def test_directories_that_are_no_mailboxes_of_the_account_are_left_alone(tmp_path: Path, user: Provider) -> None:
    """Those of nobody, those that the device does not select, and names of no mailbox."""
    user.receive("a")
    accounts = {"work": imap(user.server, user.user), "isp": pop3(user.server, f"{user.user}p")}
    devices = {"laptop": {"settle": "20ms", "mailboxes": ["*", "!Private*"]}, "phone": {"settle": "20ms"}}
    async with House(tmp_path, accounts=accounts, devices=devices) as house:
        await house.settle()
        before = len(await house.rows(select(schema.mailbox.c.id)))

        others = (".other.New", "New", ".isp")
        for name in (*others, ".isp.Private", ".isp.a..b", ".isp.inbox", ".isp.%", ".isp.a%00"):
            for subdir in ("cur", "new", "tmp"):
                (tmp_path / "laptop" / name / subdir).mkdir(parents=True)
        (tmp_path / "laptop" / ".isp.Half" / "new").mkdir(parents=True)
        (tmp_path / "laptop" / ".isp.Link").symlink_to(tmp_path / "laptop" / "New")
        await house.settle()

        assert len(await house.rows(select(schema.mailbox.c.id))) == before
        assert not (tmp_path / "phone" / ".isp.Private").exists()


async def test_directory_that_a_device_removes_empties_its_mailbox_into_trash(tmp_path: Path, user: Provider) -> None:
    """Then the mailbox is gone, and can be made again; one of those that are always there stays."""
    async with house_of(tmp_path, user) as house:
        await house.settle()
        make(house, "laptop", "Lists")
        add(house, "laptop", "n", mailbox="Lists")
        await house.settle()

        shutil.rmtree(on(house, "laptop", "Lists").directory)
        shutil.rmtree(on(house, "phone", "Drafts").directory)
        await house.settle()
        assert_everywhere(house, "Lists")
        assert_everywhere(house, "Trash", "n")
        assert await _there(house) == {"INBOX", "Drafts", "Sent", "Trash", "Junk"}

        make(house, "laptop", "Lists")
        add(house, "laptop", "m", mailbox="Lists")
        await house.settle()
        assert_everywhere(house, "Lists", "m")


async def test_directory_that_a_device_renames(tmp_path: Path, user: Provider) -> None:
    """Its mail is in a mailbox of that name, and not in Trash."""
    async with house_of(tmp_path, user) as house:
        await house.settle()
        make(house, "laptop", "Lists")
        add(house, "laptop", "n", mailbox="Lists")
        await house.settle()
        [row] = await house.rows(select(schema.mailbox.c.id).where(schema.mailbox.c.name == "Lists"))

        on(house, "laptop", "Lists").directory.rename(on(house, "laptop", "Old/Lists").directory)
        await house.settle()
        assert await house.rows(select(schema.mailbox.c.id).where(schema.mailbox.c.name == "Old/Lists")) == [row]
        assert_everywhere(house, "Old/Lists", "n")
        assert_everywhere(house, "Trash")
        assert await _there(house) == {"INBOX", "Drafts", "Sent", "Trash", "Junk", "Old/Lists"}


async def _there(house: House) -> set[str]:
    columns = schema.mailbox.c
    return {row.name for row in await house.rows(select(columns.name).where(columns.gone_at.is_(None)))}
