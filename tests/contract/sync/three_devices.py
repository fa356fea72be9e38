"""Three devices of one IMAP account, or two, what programs do to their files, and what all sides have in the end."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from syncd.errors import DeviceAwayError
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider

DEVICES = ("laptop", "phone", "nas")
TWO = ("laptop", "phone")
"""Enough where the promise is about the server, the wire, or one device, and the other only has to follow."""


def house_of(
    directory: Path, provider: Provider, *, settle: str = "20ms", devices: Iterable[str] = DEVICES, **more: Any
) -> House:
    account = imap(provider.server, provider.user, **more)
    return House(directory, accounts={"work": account}, devices={name: {"settle": settle} for name in devices})


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


async def come_back(house: House, device: str, *, away: Path) -> None:
    """Put the root of a device back, and let its task see that."""
    await asyncio.to_thread(away.rename, house.config.devices[device].path)
    with suppress(DeviceAwayError):  # it was about to say so
        await house.ask(device)


def make(house: House, device: str, mailbox: str) -> Path:
    """Make a mailbox as a mail program does."""
    directory = house.replica(device, mailbox).directory
    for subdir in ("tmp", "new", "cur"):
        (directory / subdir).mkdir(parents=True)
    return directory


def remove(house: House, device: str, *keys: str, mailbox: str = "INBOX") -> None:
    for key in keys:
        house.replica(device, mailbox).find(key).path.unlink()


def assert_everywhere(house: House, provider: Provider, mailbox: str, *keys: str) -> None:
    assert sorted(provider.flags(mailbox)) == sorted(keys)
    assert [one.keys() for one in house.replicas(mailbox)] == [sorted(keys)] * len(house.config.devices)
