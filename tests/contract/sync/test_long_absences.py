"""After a long time without a server, or without a device, one round of each brings all sides together."""

from functools import partial
from pathlib import Path

from sqlalchemy import select

from syncd.store.rounds import holds
from syncd.store.tables import schema
from tests.contract.sync.house import House, MakeDovecot
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import DEVICES, add, assert_everywhere, come_back, house_of, remove

SEEN, FLAGGED, ANSWERED, DRAFT = "\\Seen", "\\Flagged", "\\Answered", "\\Draft"
DAY_S = 86400.0
_CHANGING = (b" UID STORE ", b" UID MOVE ", b" UID COPY ", b" UID EXPUNGE ", b" APPEND ")


def names(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"m{number:02}" for number in range(first, last))


def receive(provider: Provider, *keys: str) -> None:
    """Deliver letters of different sizes, as no import of thousands has them."""
    provider.receive_raw(letter(key, lines=number) for number, key in enumerate(keys))


def move(house: House, device: str, *keys: str, to: str) -> None:
    for key in keys:
        path = house.replica(device).find(key).path
        path.rename(house.replica(device, to).directory / "cur" / path.name)


def mark(replica: Replica, *keys: str, **changes: str) -> None:
    for key in keys:
        replica.mark(key, **changes)


def assert_flags(house: House, provider: Provider, mailbox: str) -> None:
    assert [one.flags() for one in house.replicas(mailbox)] == [provider.flags(mailbox)] * len(DEVICES)


async def test_week_without_a_server_ends_in_one_round(tmp_path: Path, make_dovecot: MakeDovecot) -> None:
    """A hundred changes of three devices wait; then they are brought by a few commands, and no octet comes back."""
    server = make_dovecot()
    provider = Provider(server, "ana")
    receive(provider, *names(0, 50))
    provider.receive("x", mailbox="Archive")
    async with Tap(server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port) as house:
        await house.settle()
        server.stop()
        laptop, phone, nas = (house.replica(device) for device in DEVICES)
        mark(laptop, *names(0, 20), add="F")
        move(house, "laptop", *names(20, 30), to="Archive")
        remove(house, "laptop", *names(30, 40))
        mark(phone, *names(0, 32), add="S")
        mark(phone, *names(30, 33), add="F")
        remove(house, "phone", *names(40, 44))
        mark(nas, *names(20, 25), add="R")
        move(house, "nas", *names(44, 50), to="Archive")
        for number in range(4):
            add(house, "nas", f"d{number}", mailbox="Drafts", letters="D")
        house.shift_s += 7 * DAY_S
        await house.ask(*DEVICES)
        begun, asked = len(tap.lines), len(tap.bodies)

        server.start()
        await house.settle()

        changing = [line for line in tap.lines[begun:] if any(word in line for word in _CHANGING)]
        print(f"{len(changing)} of {len(tap.lines) - begun} commands change something")
        assert len(changing) <= 25
        assert len(tap.lines) - begun <= 150
        assert tap.bodies[asked:] == []
        assert_everywhere(house, provider, "INBOX", *names(0, 20), *names(30, 33))
        assert_everywhere(house, provider, "Archive", "x", *names(20, 30), *names(44, 50))
        assert_everywhere(house, provider, "Trash", *names(33, 40), *names(40, 44))
        assert_everywhere(house, provider, "Drafts", *(f"d{number}" for number in range(4)))
        flags = provider.flags()
        assert {flags[key] for key in names(0, 20)} == {frozenset({SEEN, FLAGGED})}
        assert flags["m32"] == {FLAGGED}
        assert {provider.flags("Archive")[key] for key in names(20, 25)} == {frozenset({SEEN, ANSWERED})}
        for mailbox in ("INBOX", "Archive", "Trash", "Drafts"):
            assert_flags(house, provider, mailbox)


async def test_device_that_was_away_for_months_is_merged_by_rule(tmp_path: Path, user: Provider) -> None:
    """What was deleted elsewhere goes, what it changed itself stays, what moved is moved, and nothing comes back."""
    receive(user, *names(0, 40))
    user.receive("x", mailbox="Archive")
    others = ("work", "laptop", "nas")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        root = house.config.devices["phone"].path
        away = root.rename(root.with_name("away"))
        remove(house, "laptop", *names(0, 5))
        move(house, "laptop", *names(5, 10), to="Archive")
        await house.settle(*others)
        user.expunge(*names(10, 13))
        user.move(*names(13, 16), to="Trash")
        user.expunge("m02", mailbox="Trash")
        user.store("m16", "+FLAGS (\\Flagged)")
        user.receive("n0", "n1")
        await house.settle(*others)
        house.shift_s += 90 * DAY_S
        await house.settle(*others)
        at_home = {path.name: path.stat().st_ino for path in (root.with_name("nas")).rglob("cur/*")}
        phone = Replica(away / house.replica("phone").directory.relative_to(root))
        mark(phone, "m00", "m02", "m10", "m13", add="F")  # in Trash, gone from it, expunged, in Trash
        mark(phone, "m01", "m11", "m14", add="S")
        mark(phone, "m05", add="R")
        mark(phone, "m16", add="S")
        phone.find("m20").path.unlink()
        asked = len(tap.bodies)

        await come_back(house, "phone", away=away)
        add(house, "phone", "d", mailbox="Drafts", letters="D")
        await house.settle()

        kept = ("m00", "m02", "m10", "m13")
        assert_everywhere(house, user, "INBOX", *kept, *names(16, 20), *names(21, 40), "n0", "n1")
        assert_everywhere(house, user, "Archive", "x", *names(5, 10))
        assert_everywhere(house, user, "Trash", "m01", "m03", "m04", "m14", "m15", "m20")
        assert_everywhere(house, user, "Drafts", "d")
        assert {user.flags()[key] for key in kept} == {frozenset({FLAGGED})}
        assert user.flags()["m16"] == {SEEN, FLAGGED}
        assert user.flags("Archive")["m05"] == {ANSWERED}
        for mailbox in ("INBOX", "Archive", "Trash", "Drafts"):
            assert_flags(house, user, mailbox)
        assert tap.bodies[asked:] == []
        stayed = {path.name: path.stat().st_ino for path in (root.with_name("nas")).rglob("cur/*")}
        assert sum(stayed.get(name) == inode for name, inode in at_home.items()) >= len(at_home) - 3


async def test_many_deletions_that_a_device_missed_wait_for_a_person(tmp_path: Path, user: Provider) -> None:
    """They are held when it is back, but for what it wants itself; released, they are carried out."""
    receive(user, *names(0, 40))
    others = ("work", "laptop", "nas")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        root = house.config.devices["phone"].path
        away = root.rename(root.with_name("away"))
        user.expunge(*names(0, 30))
        await house.settle(*others)
        await _release(house)
        await house.settle(*others)
        house.shift_s += 90 * DAY_S
        mark(Replica(away / house.replica("phone").directory.relative_to(root)), "m00", add="F")

        await come_back(house, "phone", away=away)
        await house.settle()
        assert sorted(user.flags()) == ["m00", *names(30, 40)]
        assert house.replica("phone").keys() == sorted(names(0, 40))
        assert await _release(house) == 29
        await house.settle()

        assert_everywhere(house, user, "INBOX", "m00", *names(30, 40))
        assert await house.rows(select(schema.hold.c.id)) == []


async def _release(house: House) -> int:
    """Release what is held, and return how much that is."""
    waiting = await house.db.read(holds.holds)
    for one in waiting:
        await house.db.write(partial(holds.release_hold, hold_id=one.id))
    return sum(len(one.effects) for one in waiting)
