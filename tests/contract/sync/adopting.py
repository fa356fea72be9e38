"""Devices whose directories or stores come from elsewhere: they are refused, and adopted."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from syncd.errors import DeviceAwayError
from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica


def house_of(
    directory: Path,
    user: Provider,
    *,
    port: int | None = None,
    devices: Any = ("laptop", "phone"),
    store: str = "store",
    **more: Any,
) -> House:
    tables = devices if isinstance(devices, Mapping) else {name: {} for name in devices}
    return House(
        directory,
        accounts={"work": imap(user.server, user.user, port=port)},
        devices={name: {"settle": "20ms", **table} for name, table in tables.items()},
        url=f"sqlite:///{directory}/{store}/syncd.db",
        **more,
    )


def copied(path: Path, to: Path) -> None:
    """Make a directory a copy of another, dates and hard links within it apart."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(path, to, symlinks=True)


async def adopt(house: House, *devices: str) -> list[str]:
    """Adopt devices of a house that is entered; return what was found in each."""
    return [(await house.devices[name].adopt()).found for name in devices]


async def device_states(house: House) -> dict[str, str]:
    rows = await house.rows(select(schema.device.c.name, schema.device.c.state))
    return {row.name: row.state for row in rows}


async def assert_refused(house: House, device: str, *, saying: str) -> None:
    """Check that a device is left alone, and that its error says why and what to do."""
    with pytest.raises(DeviceAwayError, match=saying) as refusal:
        await house.ask(device)
    assert "its mail is left alone" in str(refusal.value)
    assert f"syncd adopt {device}" in str(refusal.value)


def names(replica: Replica) -> list[str]:
    return sorted(file.stem for file in replica.files())


def inodes(replica: Replica) -> list[int]:
    return sorted(file.inode for file in replica.files())
