"""Houses that differ only in what their devices select, and what a server says that it was left alone."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.contract.sync.house import House, Table, imap
from tests.contract.sync.provider import Provider
from tests.servers.delivery import quoted

OTHER = "Other"


def house_of(
    directory: Path, provider: Provider, laptop: Table | None = None, *, guard: Table | None = None, **account: Any
) -> House:
    """Return a house of two devices, of which the laptop has these settings, and an account with these."""
    devices: Mapping[str, Table] = {"laptop": {"settle": "20ms", **(laptop or {})}, "phone": {"settle": "20ms"}}
    table = imap(provider.server, provider.user, **account)
    return House(directory, accounts={"work": table}, devices=devices, guard=guard)


def as_server_has_it(provider: Provider, mailbox: str = OTHER) -> tuple[bytes, tuple[bytes, ...]]:
    """Return what changes if anything is done to a mailbox: its counts, with HIGHESTMODSEQ, UIDs and flags."""
    with provider.server.imap(provider.user) as client:
        counted = "(UIDVALIDITY UIDNEXT MESSAGES HIGHESTMODSEQ)"
        _, status = client.status(quoted(mailbox), counted)
        client.select(quoted(mailbox), readonly=True)
        _, rows = client.uid("FETCH", "1:*", "(UID FLAGS)")
    return status[0], tuple(row for row in rows if row)


def names_of(house: House, device: str = "phone", mailbox: str = OTHER) -> set[Path]:
    """Return the paths of a device's files."""
    return {file.path for file in house.replica(device, mailbox).files()}


async def settled(house: House) -> None:
    """Let a house settle once, and leave it."""
    async with house:
        await asyncio.wait_for(house.settle(), 60)
