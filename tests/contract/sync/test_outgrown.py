"""Messages that are too old or too large for a device go from it alone, and come back when it takes them again."""

import datetime
import os
from pathlib import Path

from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.selecting import as_server_has_it, house_of, names_of, settled

_DAY_S = 86400.0


def days_ago(days: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)


async def test_limits_are_followed_both_ways(tmp_path: Path, user: Provider) -> None:
    """Lowered, more goes than a guard allows, but not before the server heard all of it; raised, it comes back."""
    user.receive(*(f"old{number}" for number in range(30)), date=days_ago(100))
    user.receive("large", lines=400)
    user.receive("fresh")
    await settled(house_of(tmp_path, user))
    laptop = house_of(tmp_path, user).replica("laptop")
    before, phone = as_server_has_it(user, "INBOX"), names_of(house_of(tmp_path, user), mailbox="INBOX")

    await settled(house_of(tmp_path, user, {"max_size": "2KB"}))
    assert laptop.keys() == sorted(["fresh", *(f"old{number}" for number in range(30))])
    await settled(house_of(tmp_path, user, {"max_age": "30d"}))
    assert laptop.keys() == ["fresh", "large"]
    assert before == as_server_has_it(user, "INBOX")
    assert phone == names_of(house_of(tmp_path, user), mailbox="INBOX")

    laptop.mark("large", add="F")
    house = house_of(tmp_path, user, {"max_size": "2KB"})
    async with house:
        await house.settle()
        assert user.flags()["large"] == {"\\Flagged"}
        house.shift_s = 3601.0
        await house.settle()
        assert laptop.keys() == sorted(["fresh", *(f"old{number}" for number in range(30))])
    assert house.replica("phone").flags() == user.flags()


async def test_message_goes_when_it_has_grown_too_old(tmp_path: Path, user: Provider) -> None:
    """Within an hour of its time, while the daemon runs; what others do with it is not affected."""
    user.receive("older", date=days_ago(29.9))
    user.receive("younger", date=days_ago(28.9))
    house = house_of(tmp_path, user, {"max_age": "30d"})
    async with house:
        await house.settle()
        before = as_server_has_it(user, "INBOX")
        assert house.replica("laptop").keys() == ["older", "younger"]

        house.shift_s = 0.5 * _DAY_S
        await house.settle()
        assert house.replica("laptop").keys() == ["younger"]

        house.shift_s = 1.5 * _DAY_S
        await house.settle()
        assert house.replica("laptop").keys() == []

    assert house.replica("phone").keys() == ["older", "younger"]
    assert before == as_server_has_it(user, "INBOX")


async def test_old_message_that_a_person_adds_stays_for_an_hour(tmp_path: Path, user: Provider) -> None:
    """It is sent, and stays where it was put for the time being; then it follows the rule."""
    user.receive("fresh")
    house = house_of(tmp_path, user, {"max_age": "30d"})
    async with house:
        await house.settle()
        laptop = house.replica("laptop")
        path = laptop.directory / "cur" / "1700000000.1.laptop:2,S"
        path.write_bytes(letter("filed"))
        old = days_ago(400).timestamp()
        os.utime(path, (old, old))
        await house.settle()
        assert user.flags()["filed"] == {"\\Seen"}
        assert laptop.keys() == ["filed", "fresh"]

        house.shift_s = 3601.0
        await house.settle()
        assert laptop.keys() == ["fresh"]
    assert sorted(user.flags()) == ["filed", "fresh"]
    assert house.replica("phone").keys() == ["filed", "fresh"]
