"""Which mailboxes are synced, and under which names, on servers with either delimiter."""

from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.mail.mailbox import SpecialUse
from syncd.store import accounts, schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.servers.dovecot import Dovecot

NAMES = ("Grüße", "花/山", "R&D", "a b", "Entwürfe (alt)", "% *", "Ünï/cödé/三", "tilde~", "quote'd")


@pytest.fixture(params=["/", "."], ids=["slash", "dot"])
def delimiter(request: pytest.FixtureRequest) -> str:
    """Return a hierarchy delimiter."""
    return str(request.param)


@pytest.fixture
def delimited(delimiter: str, request: pytest.FixtureRequest) -> Dovecot:
    """Return a server with that delimiter."""
    server: Dovecot = request.getfixturevalue("dovecot" if delimiter == "/" else "dotted")
    return server


@pytest.mark.parametrize("layout", ["maildir++", "fs"])
async def test_any_unicode_name_is_a_mailbox_on_devices(
    tmp_path: Path, delimited: Dovecot, delimiter: str, mail_user: str, layout: str
) -> None:
    """Every mailbox of the server is one on the device under the same name, and flags set there come back."""
    provider = Provider(delimited, mail_user)
    for number, name in enumerate(NAMES):
        provider.receive(f"letter{number}", mailbox=name.replace("/", delimiter))

    account, devices = imap(delimited, mail_user), {"laptop": {"layout": layout}}
    async with House(tmp_path, accounts={"work": account}, devices=devices) as house:
        await house.settle()
        for number, name in enumerate(NAMES):
            assert house.replica("laptop", name).keys() == [f"letter{number}"]
            house.replica("laptop", name).mark(f"letter{number}", add="S")
        await house.settle()

    for number, name in enumerate(NAMES):
        assert provider.flags(name.replace("/", delimiter)) == {f"letter{number}": {"\\Seen"}}


async def test_patterns_of_account_and_device_both_select(tmp_path: Path, user: Provider) -> None:
    """A device has what its account and it itself select; in each the last pattern that matches wins."""
    for name in ("Lists/a", "Lists/b", "Lists/b/c", "Work", "Spam"):
        user.receive("x", mailbox=name)
    account = imap(user.server, user.user, mailboxes=["*", "!Lists/*", "Lists/b*", "!Spam"])
    devices = {"laptop": {}, "phone": {"mailboxes": ["INBOX", "Lists/*"]}, "none": {"mailboxes": []}}

    async with House(tmp_path, accounts={"work": account}, devices=devices) as house:
        await house.settle()

        names = ("INBOX", "Lists/a", "Lists/b", "Lists/b/c", "Work", "Spam")
        there = {device: {name for name in names if _is_there(house, device, name)} for device in devices}
        assert there == {
            "laptop": {"INBOX", "Lists/b", "Lists/b/c", "Work"},
            "phone": {"INBOX", "Lists/b", "Lists/b/c"},
            "none": set(),
        }


async def test_mailbox_that_no_device_selects_costs_no_bodies(tmp_path: Path, user: Provider) -> None:
    """Bodies are fetched for devices; rows of an unselected mailbox may be known, its bodies are not."""
    user.receive("x", mailbox="Archive")
    user.receive("y")

    async with House(
        tmp_path, accounts={"work": imap(user.server, user.user)}, devices={"laptop": {"mailboxes": ["INBOX"]}}
    ) as house:
        await house.settle()

        assert len(await house.rows(select(schema.body))) == 1


async def test_special_uses_are_known(tmp_path: Path, user: Provider) -> None:
    """Drafts, Sent, Trash and Junk are what the server says they are."""
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}) as house:
        await house.settle()
        rows = await house.db.read(lambda conn: accounts.mailboxes(conn, account_id=1))

    uses = {str(row.name): row.special_use for row in rows}
    wanted = {"Drafts": SpecialUse.DRAFTS, "Sent": SpecialUse.SENT, "Trash": SpecialUse.TRASH, "Junk": SpecialUse.JUNK}
    assert uses == wanted | {"INBOX": None}


def _is_there(house: House, device: str, name: str) -> bool:
    return house.replica(device, name).directory.is_dir()
