"""What a server moves or copies between its mailboxes is not downloaded again."""

import datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap

LONG_AGO = datetime.datetime(2020, 5, 17, 9, 30, tzinfo=datetime.UTC)


async def test_moved_and_copied_messages_are_downloaded_once(tmp_path: Path, user: Provider) -> None:
    """Web mail files ten messages and copies one: no body is asked for, and every device has them where they are."""
    keys = tuple(f"m{number}" for number in range(12))
    user.receive(*keys)
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap) as house:
        await house.settle()
        asked = list(tap.bodies)

        user.move(*keys[:10], to="Archive")
        user.copy(keys[11], to="Archive")
        user.receive("new", mailbox="Archive")
        await house.settle()

        assert sum(map(len, tap.bodies[len(asked) :])) == 1
        for replica in house.replicas():
            assert replica.keys() == [*keys[10:]]
        for replica in house.replicas("Archive"):
            assert replica.keys() == sorted({*keys[:10], keys[11], "old", "new"})
            for key in keys[:10]:
                assert replica.find(key).path.read_bytes() == _as_file(letter(key))


async def test_messages_that_are_alike_but_for_their_octets_are_told_apart(tmp_path: Path, user: Provider) -> None:
    """Equal size, date and Message-ID prove nothing: the whole header must be equal."""
    one, other = (b"Message-ID: <same@example.org>\r\nSubject: %s\r\n\r\nbody\r\n" % word for word in (b"one", b"two"))
    user.receive_raw([one], date=LONG_AGO)
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap) as house:
        await house.settle()
        user.receive_raw([other], mailbox="Archive", date=LONG_AGO)
        await house.settle()

        (file,) = house.replica("laptop", "Archive").files()
        assert file.path.read_bytes() == other.replace(b"\r\n", b"\n")


async def test_two_versions_of_a_draft_are_both_downloaded(tmp_path: Path, user: Provider) -> None:
    """In one mailbox two messages may differ in nothing but their text."""
    versions = [b"Message-ID: <draft@example.org>\r\n\r\n%s\r\n" % word for word in (b"teh", b"the")]
    user.receive_raw(versions[:1], mailbox="Drafts", date=LONG_AGO)
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap) as house:
        await house.settle()
        user.receive_raw(versions[1:], mailbox="Drafts", date=LONG_AGO)
        await house.settle()

        found = {file.path.read_bytes() for file in house.replica("laptop", "Drafts").files()}
        assert found == {version.replace(b"\r\n", b"\n") for version in versions}


@pytest.mark.parametrize("count", [2, 120], ids=["a-few", "so-many-that-it-stops-asking"])
async def test_server_that_refuses_headers_still_gets_its_messages_downloaded(
    tmp_path: Path, user: Provider, count: int
) -> None:
    """Where the headers that would tell are refused, copied messages are fetched, and nothing is in trouble."""
    keys = tuple(f"m{number:03}" for number in range(count))
    user.receive_raw(letter(key, lines=number) for number, key in enumerate(keys))
    user.receive("stays")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap) as house:
        await house.settle()
        asked, lines = len(tap.bodies), len(tap.lines)
        tap.refuses = _asks_for_headers

        user.copy(*keys, to="Archive")
        await house.settle()

        assert any(map(_asks_for_headers, tap.lines[lines:]))
        assert sum(map(len, tap.bodies[asked:])) == count
        assert await house.rows(select(schema.trouble)) == []
        assert house.errors == {}
        for inbox, archive in zip(house.replicas(), house.replicas("Archive"), strict=True):
            assert inbox.keys() == [*keys, "stays"]
            assert archive.keys() == [*keys, "old"]
            assert {file.octets for file in archive.files()} == set(map(_as_file, user.bodies("Archive")))


async def test_message_of_another_account_is_downloaded_there_too(tmp_path: Path, user: Provider) -> None:
    """What one account has is no reason not to ask another for its own, though both then share the file."""
    user.receive("a", date=LONG_AGO)
    other = Provider(user.server, f"{user.user}-other")
    other.receive("b")
    async with Tap(user.server.imap_port) as tap:
        accounts = {
            "work": imap(user.server, user.user, port=tap.port),
            "home": imap(user.server, other.user, port=tap.port),
        }
        async with House(tmp_path, accounts=accounts, devices=("laptop", "phone")) as house:
            await house.settle()
            asked, lines = len(tap.bodies), len(tap.lines)

            other.receive("a", mailbox="Archive", date=LONG_AGO)
            await house.settle()

            assert sum(map(len, tap.bodies[asked:])) == 1
            assert not any(map(_asks_for_headers, tap.lines[lines:]))
            (file,) = house.replica("phone", "Archive", account="home").files()
            assert file.inode == house.replica("phone", account="work").find("a").inode


def _house(tmp_path: Path, user: Provider, tap: Tap) -> House:
    account = imap(user.server, user.user, port=tap.port)
    return House(tmp_path, accounts={"work": account}, devices=("laptop", "phone"))


def _asks_for_headers(line: bytes) -> bool:
    return b"BODY.PEEK[HEADER]" in line


def _as_file(body: bytes) -> bytes:
    return body.replace(b"\r\n", b"\n")
