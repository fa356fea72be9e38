"""What lies in the files of a store: odd names as they are, and no password."""

import base64
from pathlib import Path

from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.servers.dovecot import PASSWORD

SEEN = "\\Seen"
TRICKY = "x'); DROP TABLE server_message; --"
KEY = "x');DROPTABLEserver_message;--"
KEYWORD = "k';--"


async def test_names_that_look_like_sql_are_only_names(tmp_path: Path, user: Provider) -> None:
    """Mailbox, keyword and Message-ID are values to the store, and come out of it as they are."""
    user.receive(KEY, mailbox=TRICKY, flags=(KEYWORD,))
    user.receive("a")
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}) as house:
        await house.settle()
        house.replica("laptop", TRICKY).mark(KEY, add="S")
        await house.settle()

        assert house.replica("laptop", TRICKY).flags() == user.flags(TRICKY)
        assert user.flags(TRICKY) == {KEY: {KEYWORD, SEEN}}
        assert house.replica("laptop").keys() == ["a"]


async def test_no_file_of_store_or_devices_holds_the_password(tmp_path: Path, user: Provider) -> None:
    """Whoever gets hold of a backup of the store or of a replica has mail, but no login."""
    user.receive("a", "b")
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}) as house:
        await house.settle()
        octets = _files(tmp_path)

    secret = PASSWORD.encode()
    plain = base64.b64encode(f"\0{user.user}\0{PASSWORD}".encode())
    assert any(user.user.encode() in one for one in octets.values()), "these are not the files"
    for path, one in octets.items():
        assert not any(each in one for each in (secret, base64.b64encode(secret), plain)), path.name


def _files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
