"""Three devices of one POP3 account, what programs do to their files, and what all of them have in the end."""

from pathlib import Path
from typing import Any

from tests.contract.sync.house import House, pop3
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica

DEVICES = ("laptop", "phone", "nas")
QUICK = {"settle": "20ms"}


def house_of(directory: Path, user: Provider, *, settle: str = "20ms", **devices: Any) -> House:
    tables = {name: {"settle": settle, **devices.get(name, {})} for name in DEVICES}
    return House(directory, accounts={"isp": pop3(user.server, user.user)}, devices=tables)


def on(house: House, device: str, mailbox: str = "INBOX") -> Replica:
    return house.replica(device, mailbox, account="isp")


def add(
    house: House, device: str, key: str, *, mailbox: str = "INBOX", letters: str = "S", octets: bytes | None = None
) -> Path:
    """Write a file as a mail program does: in tmp, then renamed to its place."""
    directory = on(house, device, mailbox).directory
    name = f"1700000000.12_{key}.{device}"
    made = directory / "tmp" / name
    made.write_bytes(letter(key).replace(b"\r\n", b"\n") if octets is None else octets)
    return made.rename(directory / "cur" / f"{name}:2,{letters}")


def make(house: House, device: str, mailbox: str) -> Replica:
    """Make a mailbox as a mail program does."""
    replica = on(house, device, mailbox)
    for subdir in ("cur", "new", "tmp"):
        (replica.directory / subdir).mkdir(parents=True)
    return replica


def move(house: House, device: str, key: str, to: str, *, source: str = "INBOX") -> Path:
    file = on(house, device, source).find(key).path
    return file.rename(on(house, device, to).directory / "cur" / file.name)


def remove(house: House, device: str, *keys: str, mailbox: str = "INBOX") -> None:
    for key in keys:
        on(house, device, mailbox).find(key).path.unlink()


def assert_everywhere(house: House, mailbox: str, *keys: str) -> None:
    assert [one.keys() for one in house.replicas(mailbox, account="isp")] == [sorted(keys)] * len(DEVICES)
