"""Different messages under one Message-ID."""

from collections import Counter
from pathlib import Path

from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider


async def test_different_messages_under_one_message_id_stay_different(tmp_path: Path, user: Provider) -> None:
    """Copies by a mailing list and a careless sender share a Message-ID: each stays what it is, also renumbered."""
    messages = [_shared(text) for text in ("one", "two", "six")]
    user.receive_raw(messages, mailbox="Lists")
    house = House(tmp_path, accounts={"work": imap(user.server, user.user)})
    async with house:
        await house.settle()
        names = {file.octets: file.stem for file in house.replica("laptop", "Lists").files()}

    with user.server.imap(user.user) as client:
        client.delete("Lists")
    user.receive_raw([*reversed(messages), _shared("new")], mailbox="Lists")
    async with house:
        await house.settle()

        files = tuple(house.replica("laptop", "Lists").files())
        wanted = Counter(one.replace(b"\r\n", b"\n") for one in (*messages, _shared("new")))
        assert Counter(file.octets for file in files) == wanted
        assert {file.octets: file.stem for file in files if file.octets in names} == names


async def test_message_id_of_a_hundred_kilobytes(tmp_path: Path, user: Provider) -> None:
    """It is a header like others: its messages are delivered, and moved by a device without being sent."""
    long = b"Message-ID: <" + b"x" * 100_000 + b"@example.org>\r\nSubject: %s\r\n\r\n%s\r\n"
    messages = [long % (text, text) for text in (b"one", b"two")]
    user.receive_raw(messages)
    user.receive("old", mailbox="Archive")
    house = House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices={"laptop": {"settle": "20ms"}})
    async with house:
        await house.settle()
        inbox, archive = house.replica("laptop"), house.replica("laptop", "Archive")
        assert sorted(file.octets for file in inbox.files()) == [one.replace(b"\r\n", b"\n") for one in messages]

        one = next(file.path for file in inbox.files() if file.octets.endswith(b"one\n"))
        one.rename(archive.directory / "cur" / one.name)
        await house.settle()

        assert user.bodies() == (messages[1],)
        assert user.bodies("Archive")[1] == messages[0]


def _shared(text: str) -> bytes:
    """Return a message of the same size, date and Message-ID as all others; only header and text tell it apart."""
    return (
        f"From: list@example.org\r\nSubject: {text}\r\nDate: Mon, 02 Mar 2026 10:00:00 +0000\r\n"
        f"Message-ID: <shared@example.org>\r\n\r\n{text}\r\n"
    ).encode()
