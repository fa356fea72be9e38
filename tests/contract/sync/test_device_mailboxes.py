"""A mailbox that a program makes on a device of an IMAP account is made on its server, once, and is on all devices."""

from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import DEVICES, TWO, add, assert_everywhere, house_of, make
from tests.servers.dovecot import Dovecot
from tests.servers.dovecot_conf import FEW_SPECIAL_USE


@pytest.mark.parametrize("delimiter", ["/", "."])
async def test_mailbox_made_on_a_device_is_on_the_server_and_all_devices(
    tmp_path: Path, mail_user: str, delimiter: str, request: pytest.FixtureRequest
) -> None:
    """Subscribed, with those around it, with its mail; what was moved there is moved, and the rest is sent once."""
    server: Dovecot = request.getfixturevalue("dovecot" if delimiter == "/" else "dotted")
    provider = Provider(server, mail_user)
    provider.receive("a", "b")
    async with Tap(server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port) as house:
        await house.settle()

        make(house, "laptop", "Ärger/R&D 三")
        add(house, "laptop", "n", mailbox="Ärger/R&D 三")
        moved = house.replica("laptop").find("a").path
        moved.rename(house.replica("laptop", "Ärger/R&D 三").directory / "cur" / moved.name)
        await house.until(lambda: house.replica("phone", "Ärger/R&D 三").keys() == ["a", "n"])
        await house.settle()

        name = f"Ärger{delimiter}R&D 三"
        assert_everywhere(house, provider, "INBOX", "b")
        assert sorted(provider.flags(name)) == ["a", "n"]
        assert [one.keys() for one in house.replicas("Ärger/R&D 三")] == [["a", "n"]] * len(DEVICES)
        assert provider.flags("Trash") == {}
        assert f"&AMQ-rger{delimiter}R&-D &Tgk-" in provider.subscribed()
        assert sum(b" APPEND " in line for line in tap.lines) == 1
        assert sum(b" CREATE " in line for line in tap.lines) == 1
        assert await house.rows(select(schema.mailbox_change.c.id)) == []


async def test_message_that_a_program_moves_into_a_mailbox_that_it_makes_is_moved(
    tmp_path: Path, user: Provider
) -> None:
    """As mutt does: it writes a copy with a note of its own in the header, and removes the original later."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()

        make(house, "laptop", "Lists")
        original = house.replica("laptop").find("a").path
        octets = original.read_bytes().replace(b"\n\n", b"\nContent-Length: 36\nLines: 3\n\n", 1)
        (house.replica("laptop", "Lists").directory / "cur" / "1.2_3.host:2,").write_bytes(octets)
        original.unlink()
        await house.until(lambda: house.replica("phone", "Lists").keys() == ["a"])
        await house.settle()

        assert sorted(user.flags("INBOX")) == ["b"]
        assert sorted(user.flags("Lists")) == ["a"]
        assert user.flags("Trash") == {}
        assert [line for line in tap.lines if b" APPEND " in line] == []


async def test_mailbox_that_the_server_refuses_is_kept_and_tried_again(tmp_path: Path, user: Provider) -> None:
    """With its mail, on its device; it is shown, and everything else goes on."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        tap.refuses, tap.refusal = (lambda line: b" CREATE " in line), b"NO [CANNOT] no such names here"

        for name in ("Lists", "a\x07", ""):
            make(house, "laptop", name)
        add(house, "laptop", "n", mailbox="Lists")
        add(house, "laptop", "m")
        await house.settle()

        assert_everywhere(house, user, "INBOX", "m")
        rows = {row.name: row.error for row in await house.rows(select(schema.mailbox_change))}
        assert rows["Lists"] == 'create refused by the server: "no such names here"'
        assert rows["a\x07"] == "no mailbox of this server can be called 'a\\x07'"
        assert rows[""] == "no mailbox of this server can be called ''"
        assert house.replica("laptop", "Lists").keys() == ["n"]

        tap.refuses = lambda line: False
        house.shift_s += 120
        await house.settle()
        assert_everywhere(house, user, "Lists", "n")


async def test_mailbox_that_the_account_or_the_device_leaves_out_is_left_alone(tmp_path: Path, user: Provider) -> None:
    """Until the configuration of the account takes it."""
    account = imap(user.server, user.user, mailboxes=["*", "!Private"])
    devices = {"laptop": {"settle": "20ms", "mailboxes": ["*", "!Local*"]}, "phone": {"settle": "20ms"}}
    async with House(tmp_path, accounts={"work": account}, devices=devices) as house:
        await house.settle()
        make(house, "laptop", "Private")
        make(house, "laptop", "Local")
        make(house, "laptop", "Lists")
        await house.settle()
        assert user.mailboxes() == {"INBOX", *FEW_SPECIAL_USE, "Lists"}

    account = imap(user.server, user.user)
    async with House(tmp_path, accounts={"work": account}, devices=devices) as house:
        await house.settle()
        assert house.replica("phone", "Private").directory.is_dir()
        assert not house.replica("phone", "Local").directory.exists()


@pytest.mark.parametrize("octets", [0, None], ids=["before the answer", "before the command"])
async def test_wire_is_cut_when_a_mailbox_is_made(tmp_path: Path, user: Provider, octets: int | None) -> None:
    """Whatever answer is lost, there is one mailbox, subscribed to, with its mail once."""
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        cut: list[bytes] = []

        async def cut_once(line: bytes) -> None:
            if b" CREATE " in line and not cut and octets is not None:
                tap.cut_after_bytes = octets
                cut.append(line)

        tap.before_line = cut_once
        tap.drops = lambda line: octets is None and b" CREATE " in line and not cut and cut.append(line) is None

        make(house, "laptop", "Lists")
        add(house, "laptop", "n", mailbox="Lists")
        await house.until(lambda: house.replica("phone", "Lists").keys() == ["n"])
        await house.settle()

        assert len(cut) == 1
        assert_everywhere(house, user, "Lists", "n")
        assert "Lists" in user.subscribed()
