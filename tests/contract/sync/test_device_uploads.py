"""What a device adds to its replica becomes a message of the server, once, and reaches the other devices."""

from pathlib import Path
from typing import Any

from sqlalchemy import select

from syncd.mail.tree import ReplicaState
from syncd.store import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.test_device_deletions import states

DEVICES = ("laptop", "phone", "nas")
DRAFT, SEEN, FLAGGED = "\\Draft", "\\Seen", "\\Flagged"


def house_of(directory: Path, provider: Provider, *, settle: str = "20ms", **more: Any) -> House:
    account = imap(provider.server, provider.user, **more)
    return House(directory, accounts={"work": account}, devices={name: {"settle": settle} for name in DEVICES})


def add(
    house: House,
    device: str,
    key: str,
    *,
    mailbox: str = "INBOX",
    letters: str | None = "S",
    octets: bytes | None = None,
    name: str | None = None,
) -> Path:
    """Write a file as a mail program does: in tmp, then renamed to its place; None: into new/."""
    directory = house.replica(device, mailbox).directory
    base = name or f"1700000000.12_{key}.{device}"
    made = directory / "tmp" / base
    made.write_bytes(letter(key).replace(b"\r\n", b"\n") if octets is None else octets)
    place = directory / "new" / base if letters is None else directory / "cur" / f"{base}:2,{letters}"
    return made.rename(place)


def assert_everywhere(house: House, provider: Provider, mailbox: str, *keys: str) -> None:
    assert sorted(provider.flags(mailbox)) == sorted(keys)
    assert [one.keys() for one in house.replicas(mailbox)] == [sorted(keys)] * 3


async def test_draft_is_on_the_server_and_on_every_device(tmp_path: Path, provider: Provider) -> None:
    """A draft saved on one device, with its flags and its date, and under the name that its program gave it."""
    provider.receive("a")
    async with house_of(tmp_path, provider) as house:
        await house.settle()

        path = add(house, "laptop", "d", mailbox="Drafts", letters="DS")
        await house.until(lambda: "d" in provider.flags("Drafts"))
        await house.until(lambda: house.replica("phone", "Drafts").keys() == ["d"])
        await house.settle()

        assert_everywhere(house, provider, "Drafts", "d")
        assert provider.flags("Drafts") == {"d": {DRAFT, SEEN}}
        assert house.replica("nas", "Drafts").flags() == {"d": {DRAFT, SEEN}}
        assert house.replica("laptop", "Drafts").find("d").path == path
        assert house.replica("phone", "Drafts").find("d").mtime == int(path.stat().st_mtime)
        assert provider.bodies("Drafts") == (letter("d"),)
        assert await states(house) == {ReplicaState.PRESENT: 6}
        assert len(await house.rows(select(schema.body.c.id))) == 2
