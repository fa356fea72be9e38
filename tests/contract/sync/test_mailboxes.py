"""Which mailboxes are synced, and under which names, on servers with either delimiter."""

from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.mail.mailbox import SpecialUse
from syncd.store.tables import schema
from syncd.store.trees import accounts
from tests.contract.sync.house import House, MakeDovecot, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap
from tests.servers.dovecot import Dovecot
from tests.servers.dovecot_conf import SPECIAL_USE

NAMES = (
    "foo",
    "Foo",
    "FOO",
    "Caf\u00e9",
    "Cafe\u0301",
    "cur",
    "dovecot-x",
    "a&-b",
    "Grüße",
    "花/山",
    "R&D",
    "a b",
    "Entwürfe (alt)",
    "% *",
    "Ünï/cödé/三",
    "tilde~",
    "quote'd",
)


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


async def test_names_that_differ_by_a_separator_are_two_mailboxes(tmp_path: Path, user: Provider) -> None:
    """A dot is no delimiter on this server, and one between parts on a device; one too long has none, and is shown."""
    long = f"{'l' * 200}/{'l' * 100}"
    for number, name in enumerate(("a.b", "a/b", "a/.b", long)):
        user.receive(f"letter{number}", mailbox=name)
    devices = {"laptop": {}, "phone": {"layout": "fs"}}
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices=devices) as house:
        await house.settle("work", "phone")
        await house.ask()

        for number, name in enumerate(("a.b", "a/b", "a/.b")):
            assert [replica.keys() for replica in house.replicas(name)] == [[f"letter{number}"]] * 2
        assert house.replica("phone", long).keys() == ["letter3"]
        errors = {row.name: row.error for row in await house.rows(select(schema.device.c.name, schema.device.c.error))}
        assert errors == {"laptop": f"work/{long}: the mailbox name is too long for a directory", "phone": None}


async def test_doubled_lines_and_a_delimiter_that_changes_fetch_nothing_again(tmp_path: Path, user: Provider) -> None:
    """A mailbox is one however often it is listed, and when its name has other parts than before it is renamed."""
    user.receive("x", mailbox="A/B")
    async with Tap(user.server.imap_port) as tap:
        tap.says = lambda line: line.replace(b' "/" ', b" NIL ") if line.startswith(b"* LIST") else line
        account = imap(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"work": account}) as house:
            await house.settle()
            flat = Replica(house.config.devices["laptop"].path / ".work.A%2FB")
            inode, fetched = flat.find("x").inode, len(tap.bodies)

            tap.says = lambda line: line * 2 if line.startswith(b"* LIST") else line
            await house.settle()

            assert house.replica("laptop", "A/B").find("x").inode == inode
            assert not flat.directory.exists()
            assert len(tap.bodies) == fetched
            names = [row.name for row in await house.rows(select(schema.mailbox.c.name))]
            assert sorted(names) == sorted({*names, "A/B"})


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


async def test_special_uses_are_known(tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str) -> None:
    """Drafts, Sent, Trash and Junk are what the server says they are."""
    user = Provider(make_dovecot(special_use=SPECIAL_USE), mail_user)
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}) as house:
        await house.settle()
        rows = await house.db.read(lambda conn: accounts.mailboxes(conn, account_id=1))

    uses = {str(row.name): row.special_use for row in rows}
    wanted = {"Drafts": SpecialUse.DRAFTS, "Sent": SpecialUse.SENT, "Trash": SpecialUse.TRASH, "Junk": SpecialUse.JUNK}
    assert uses == wanted | {"INBOX": None}


def _is_there(house: House, device: str, name: str) -> bool:
    return house.replica(device, name).directory.is_dir()
