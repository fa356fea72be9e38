"""What a device deletes is deleted everywhere: moved to Trash or expunged, and never on a guess."""

from pathlib import Path
from typing import Any

from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider

DEVICES = ("laptop", "phone", "nas")


def house_of(directory: Path, provider: Provider, *, settle: str = "20ms", **more: Any) -> House:
    account = imap(provider.server, provider.user, **more)
    return House(directory, accounts={"work": account}, devices={name: {"settle": settle} for name in DEVICES})


def remove(house: House, device: str, *keys: str, mailbox: str = "INBOX") -> None:
    for key in keys:
        house.replica(device, mailbox).find(key).path.unlink()


async def test_deleted_message_is_in_trash_everywhere(tmp_path: Path, provider: Provider) -> None:
    """A file removed on one device is moved to Trash on the server, by itself, and on every other device."""
    provider.receive("a", "b")
    provider.receive("old", mailbox="Trash")
    async with house_of(tmp_path, provider) as house:
        await house.settle()

        remove(house, "laptop", "a")
        await house.until(lambda: sorted(provider.flags()) == ["b"])
        await house.until(lambda: all(one.keys() == ["b"] for one in house.replicas()))
        await house.until(lambda: all(one.keys() == ["a", "old"] for one in house.replicas("Trash")))
        await house.settle()

        assert sorted(provider.flags("Trash")) == ["a", "old"]
        assert [one.keys() for one in house.replicas()] == [["b"]] * 3
