"""A device that may only read takes everything from its server, and nothing that it changes goes there."""

from pathlib import Path

from sqlalchemy import select

from syncd.mail.tree import ReplicaState
from syncd.store.tables import schema
from tests.contract.sync.house import House, pop3, states
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.selecting import OTHER, as_server_has_it, house_of, settled

READ_ONLY = {"read_only": True}


async def test_what_it_changes_is_undone(tmp_path: Path, user: Provider) -> None:
    """Flags are put back, files that went are there again, files that came stay and are sent nowhere."""
    user.receive(*"abcd", flags=("\\Seen",))
    user.receive("x", mailbox=OTHER)
    house = house_of(tmp_path, user, READ_ONLY)
    async with house:
        await house.settle()
        before, more = as_server_has_it(user, "INBOX"), as_server_has_it(user)
        laptop, other = house.replica("laptop"), house.replica("laptop", OTHER)
        laptop.mark("a", add="F", remove="S")
        laptop.find("b").path.unlink()
        moved = laptop.find("c").path
        moved.rename(other.directory / "cur" / moved.name)
        (laptop.directory / "cur" / "1700000000.1.laptop:2,").write_bytes(letter("mine"))
        await house.settle()

        assert before == as_server_has_it(user, "INBOX")
        assert more == as_server_has_it(user)
        assert laptop.keys() == ["a", "b", "c", "d", "mine"]
        assert {laptop.flags()[key] for key in "abcd"} == {frozenset({"\\Seen"})}
        assert other.keys() == ["c", "x"]
        assert (await states(house))[ReplicaState.NEW] == 2

        user.store("a", "+FLAGS (\\Answered)")
        user.expunge("b")
        user.receive("e")
        await house.settle()
        assert laptop.keys() == ["a", "c", "d", "e", "mine"]
        assert laptop.flags()["a"] == {"\\Seen", "\\Answered"}
    assert house.replica("phone").flags() == user.flags()


async def test_device_that_may_write_again_deletes_nothing_by_what_it_did_before(
    tmp_path: Path, user: Provider
) -> None:
    """Its files are looked at as for the first time: what is missing is there again, and what it added is sent."""
    user.receive(*"abcd")
    house = house_of(tmp_path, user, READ_ONLY)
    await settled(house)
    laptop = house.replica("laptop")
    for key in "abc":
        laptop.find(key).path.unlink()
    laptop.mark("d", add="F")
    (laptop.directory / "cur" / "1700000000.1.laptop:2,").write_bytes(letter("mine"))

    await settled(house_of(tmp_path, user))

    assert user.flags() == {**dict.fromkeys(["a", "b", "c", "mine"], frozenset()), "d": {"\\Flagged"}}
    assert laptop.flags() == user.flags()


async def test_what_was_pending_is_undone_when_a_device_may_only_read(tmp_path: Path, user: Provider) -> None:
    """Changes that the server had not heard of, held ones among them, are made undone."""
    user.receive(*(f"m{number}" for number in range(12)))
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
        before = as_server_has_it(user, "INBOX")
        for file in list(house.replica("laptop").files()):
            file.path.unlink()
        await house.ask("laptop", "work")
        await house.until_read(bool, select(schema.hold.c.id))
    await settled(house_of(tmp_path, user, READ_ONLY))

    assert before == as_server_has_it(user, "INBOX")
    assert house.replica("laptop").keys() == sorted(user.flags())
    async with house_of(tmp_path, user, READ_ONLY) as house:
        assert await house.rows(select(schema.hold.c.id)) == []


async def test_it_makes_no_mailbox(tmp_path: Path, user: Provider) -> None:
    """A directory that a program makes for a POP3 account is a mailbox of nobody."""
    accounts = {"isp": pop3(user.server, user.user)}
    async with House(tmp_path, accounts=accounts, devices={"laptop": {"settle": "20ms", **READ_ONLY}}) as house:
        await house.settle()
        directory = house.replica("laptop", "Lists", account="isp").directory
        for subdir in ("tmp", "new", "cur"):
            (directory / subdir).mkdir(parents=True)
        await house.settle()

        assert ("Lists",) not in {tuple(row) for row in await house.rows(select(schema.mailbox.c.name))}
