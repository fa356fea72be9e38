"""What a device finds: octets, links, dates, modes; and when a root is believed to be the one we know."""

import datetime
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.errors import DeviceAwayError, SyncdError
from syncd.mail.tree import ReplicaState
from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import ODD, letter
from tests.contract.sync.provider import Provider

DEVICES = ("laptop", "phone", "nas")
LAYOUTS = ("maildir++", "fs")
_CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus"
_CORPUS_MAX = 3000


def house_of(directory: Path, user: Provider, devices: object = DEVICES) -> House:
    return House(directory, accounts={"work": imap(user.server, user.user)}, devices=devices)  # type: ignore[arg-type]  # either form


@pytest.fixture
def strict_umask() -> Iterator[None]:
    """Let everybody read what is made without a mode."""
    before = os.umask(0)
    yield
    os.umask(before)


# Octets.


async def test_odd_messages_keep_their_octets(tmp_path: Path, user: Provider) -> None:
    """Every octet that the server gives is in the file, with LF for CRLF where all line ends are CRLF."""
    user.receive_raw(ODD.values())
    served = user.bodies()
    async with house_of(tmp_path, user, ("laptop", "phone")) as house:
        await house.settle()

        for replica in house.replicas():
            assert Counter(file.octets for file in replica.files()) == Counter(map(_as_file, served))
            for file in replica.files():
                assert f",S={len(file.octets)}," in file.path.name


async def test_corpus_keeps_its_octets(tmp_path: Path, user: Provider) -> None:
    """Real mail, where a corpus lies beside the checkout, is on a device as the server gives it."""
    messages = list(_corpus())
    if not messages:
        pytest.skip(f"no corpus at {_CORPUS}")
    user.receive_raw(messages)
    served = user.bodies()
    assert len(served) == len(messages)
    async with house_of(tmp_path, user, ("laptop",)) as house:
        await house.settle()

        found = Counter(file.octets for file in house.replica("laptop").files())
        assert found == Counter(map(_as_file, served))
    print(f"{len(messages)} messages")


# Files.


async def test_three_devices_share_one_file(tmp_path: Path, user: Provider) -> None:
    """One write serves three devices by hard links; the mtime is the INTERNALDATE, modes are private."""
    date = datetime.datetime(2024, 2, 29, 13, 14, 15, tzinfo=datetime.UTC)
    user.receive("a", date=date)
    async with house_of(tmp_path, user) as house:
        await house.settle()

        files = [replica.find("a") for replica in house.replicas()]
        assert {file.links for file in files} == {3}
        assert len({file.inode for file in files}) == 1
        assert len({file.path.name for file in files}) == 3
        assert {file.mtime for file in files} == {int(date.timestamp())}


async def test_same_message_in_two_mailboxes_is_one_file(tmp_path: Path, user: Provider) -> None:
    """Equal octets under an equal date are linked across mailboxes, and stay two messages."""
    date = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    user.receive("a", date=date)
    user.receive("a", date=date, mailbox="Archive")
    async with house_of(tmp_path, user, ("laptop",)) as house:
        await house.settle()

        one, other = house.replica("laptop").find("a"), house.replica("laptop", "Archive").find("a")
        assert one.inode == other.inode
        assert one.path.name != other.path.name


async def test_device_without_links_has_copies(tmp_path: Path, user: Provider) -> None:
    """link = false writes every file anew, with the same octets and date."""
    user.receive("a")
    async with house_of(tmp_path, user, ("laptop",)) as house:
        await house.settle()
    async with house_of(tmp_path, user, {"laptop": {}, "usb": {"link": False}}) as house:
        await house.settle()

        laptop, usb = (house.replica(name).find("a") for name in ("laptop", "usb"))
        assert (laptop.octets, laptop.mtime) == (usb.octets, usb.mtime)
        assert (laptop.links, usb.links) == (1, 1)


async def test_edited_file_is_no_source_of_links(tmp_path: Path, user: Provider) -> None:
    """A device that comes later gets the message as the server has it, not as another device edited it."""
    user.receive("a")
    async with house_of(tmp_path, user, ("laptop",)) as house:
        await house.settle()
    path = house.replica("laptop").find("a").path
    path.write_bytes(b"edited\n")

    async with house_of(tmp_path, user, ("laptop", "phone")) as house:
        await house.settle()

        assert _as_file(user.bodies()[0]) in [file.octets for file in house.replica("phone").files()]
        assert path.read_bytes() == b"edited\n"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("strict_umask")
async def test_everything_is_private_whatever_the_umask(tmp_path: Path, user: Provider, layout: str) -> None:
    """Files are 0600 and directories 0700."""
    user.receive("a", flags=("keyword",))
    user.receive("b", mailbox="Lists/deep/er")
    async with house_of(tmp_path, user, {"laptop": {"layout": layout}}) as house:
        await house.settle()

        root = house.config.devices["laptop"].path
        modes = {path: path.lstat().st_mode & 0o7777 for path in (root, *root.rglob("*"))}
        assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
        assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


async def test_large_message_is_whole(tmp_path: Path, user: Provider) -> None:
    """A message that goes through a spool and many chunks is there octet for octet, and linked."""
    large = letter("large", lines=120_000)
    user.receive_raw([large, letter("small")])
    async with house_of(tmp_path, user, ("laptop", "phone")) as house:
        await house.settle()

        for replica in house.replicas():
            assert replica.find("large").octets == _as_file(large)
            assert replica.find("large").links == 2


# The root.


async def test_root_that_is_not_mounted_concludes_nothing(tmp_path: Path, user: Provider) -> None:
    """Without its marker a device is away: nothing is written, removed or marked; when it is back it goes on."""
    user.receive("a", "b")
    house = house_of(tmp_path, user, ("laptop", "phone"))
    async with house:
        await house.settle()
    root, away = tmp_path / "laptop", tmp_path / "away"
    root.rename(away)
    root.mkdir()

    user.expunge("a")
    async with house:
        await house.ask("work")
        with pytest.raises(DeviceAwayError):
            await house.ask("laptop")
        await house.ask("phone")
        assert list(root.iterdir()) == []
        assert await _device_states(house) == {"laptop": "away", "phone": "active"}
        assert house.replica("phone").keys() == ["b"]
        assert sorted(user.flags()) == ["b"]

        root.rmdir()
        away.rename(root)
        house.replica("laptop").mark("b", add="S")
        await house.settle()
        assert await _device_states(house) == {"laptop": "active", "phone": "active"}
        assert house.replica("phone").flags() == {"b": {"\\Seen"}}
        assert house.replica("laptop").flags() == {"b": {"\\Seen"}}


async def test_root_that_never_had_mail_is_not_made_anew_either(tmp_path: Path, user: Provider) -> None:
    """It had our marker, so it may be a disk that is not mounted; if the device gets another path, that is made."""
    user.receive("a")
    none = {"laptop": {"mailboxes": ["None"]}}
    async with house_of(tmp_path, user, none) as house:
        await house.settle()
    root, away = tmp_path / "laptop", tmp_path / "away"
    root.rename(away)

    async with house_of(tmp_path, user, none) as house:
        with pytest.raises(DeviceAwayError):
            await house.ask("laptop")
        assert not root.exists()
        assert await _device_states(house) == {"laptop": "away"}
    async with house_of(tmp_path, user, {"laptop": {"path": str(tmp_path / "other")}}) as house:
        await house.settle()
        assert house.replica("laptop").keys() == ["a"]


async def test_root_that_goes_while_we_run_is_away(tmp_path: Path, user: Provider) -> None:
    """A root that disappears under a running device is noticed before anything is concluded from its emptiness."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, ("laptop",)) as house:
        await house.settle()
        (tmp_path / "laptop").rename(tmp_path / "away")
        (tmp_path / "laptop").mkdir()

        with pytest.raises(SyncdError):
            await house.ask("laptop")

        files = await house.rows(select(schema.replica_message.c.state))
        assert [row.state for row in files] == [ReplicaState.PRESENT, ReplicaState.PRESENT]


@pytest.mark.parametrize("change", ["device", "store", "older", "newer", "garbage"])
async def test_marker_that_is_not_ours_is_left_alone(tmp_path: Path, user: Provider, change: str) -> None:
    """Another device's or store's marker, an older or newer generation, or no marker at all: nothing is touched."""
    user.receive("a", "b")
    house = house_of(tmp_path, user, ("laptop",))
    async with house:
        await house.settle()
        user.receive("c")
        await house.settle()
    marker = tmp_path / "laptop" / ".syncd"
    before = json.loads(marker.read_text())
    changed = {
        "device": before | {"device": "phone"},
        "store": before | {"store": "0" * 32},
        "older": before | {"generation": before["generation"] - 1},
        "newer": before | {"generation": before["generation"] + 2},
        "garbage": None,
    }[change]
    marker.write_text("{" if changed is None else json.dumps(changed))
    house.replica("laptop").find("a").path.unlink()
    user.expunge("b")
    listed = sorted(path.name for path in house.replica("laptop").directory.rglob("*"))

    async with house:
        await house.ask("work")
        with pytest.raises(DeviceAwayError):
            await house.ask("laptop")

        assert sorted(path.name for path in house.replica("laptop").directory.rglob("*")) == listed
        assert sorted(user.flags()) == ["a", "c"]
        states = {row.state for row in await house.rows(select(schema.replica_message.c.state))}
        assert states == {ReplicaState.PRESENT}

        marker.write_text(json.dumps(before))
        await house.settle()
        assert house.replica("laptop").keys() == ["c"]


async def test_root_that_moved_goes_on_where_it_is(tmp_path: Path, user: Provider) -> None:
    """A changed path with our marker in it is the same replica: nothing is delivered again."""
    user.receive("a")
    async with house_of(tmp_path, user, ("laptop",)) as house:
        await house.settle()
        before = house.replica("laptop").find("a")
    (tmp_path / "laptop").rename(tmp_path / "elsewhere")

    async with house_of(tmp_path, user, {"laptop": {"path": str(tmp_path / "elsewhere")}}) as house:
        await house.settle()
        user.receive("b")
        await house.settle()

        after = house.replica("laptop").find("a")
        assert (before.inode, before.path.name) == (after.inode, after.path.name)
        assert house.replica("laptop").keys() == ["a", "b"]
        assert not (tmp_path / "laptop").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_new_empty_path_is_filled_afresh(tmp_path: Path, user: Provider, layout: str) -> None:
    """An empty directory under a changed path is a fresh device, in whichever layout; the old one is left."""
    user.receive("a", "b", flags=("\\Seen", "word"))
    async with house_of(tmp_path, user, ("laptop",)) as house:
        await house.settle()
        old = house.replica("laptop")

    fresh = {"laptop": {"path": str(tmp_path / "fresh"), "layout": layout}}
    (tmp_path / "fresh").mkdir()
    async with house_of(tmp_path, user, fresh) as house:
        await house.settle()

        assert house.replica("laptop").flags() == {"a": {"\\Seen", "word"}, "b": {"\\Seen", "word"}}
        house.replica("laptop").mark("a", remove="S")
        await house.settle()
        assert user.flags()["a"] == {"word"}
    assert old.keys() == ["a", "b"]


async def test_directory_with_files_of_others_is_refused(tmp_path: Path, user: Provider) -> None:
    """A directory that is neither ours nor empty is left as it is, and the other devices go on."""
    user.receive("a")
    stranger = tmp_path / "laptop" / "notes.txt"
    stranger.parent.mkdir()
    stranger.write_text("mine")
    async with house_of(tmp_path, user, ("laptop", "phone")) as house:
        await house.ask("work")
        with pytest.raises(DeviceAwayError, match="empty directory"):
            await house.ask("laptop")
        await house.ask("phone")

        assert [path.name for path in stranger.parent.iterdir()] == ["notes.txt"]
        assert house.replica("phone").keys() == ["a"]


async def test_first_marker_that_was_half_written_is_written_again(tmp_path: Path, user: Provider) -> None:
    """A device whose very first attempt was killed needs no person."""
    user.receive("a")
    (tmp_path / "laptop").mkdir()
    (tmp_path / "laptop" / ".syncd~").write_text('{"form')
    async with house_of(tmp_path, user, ("laptop",)) as house:
        await house.settle()

        assert house.replica("laptop").keys() == ["a"]
        assert sorted(path.name for path in (tmp_path / "laptop").glob(".syncd*")) == [".syncd"]


async def test_changed_layout_is_refused(tmp_path: Path, user: Provider) -> None:
    """Another layout over the same files would be another device; it is said, and nothing is touched."""
    user.receive("a")
    async with house_of(tmp_path, user, ("laptop",)) as house:
        await house.settle()
        old = house.replica("laptop")
    async with house_of(tmp_path, user, {"laptop": {"layout": "fs"}}) as house:
        with pytest.raises(DeviceAwayError, match="layout"):
            await house.ask("laptop")
    assert old.keys() == ["a"]


async def test_replica_without_its_directories_is_not_a_deletion(tmp_path: Path, user: Provider) -> None:
    """Where a mailbox lacks its cur/, it stands still; nothing is concluded or made anew."""
    user.receive("a", "b", mailbox="Project")
    house = house_of(tmp_path, user, ("laptop", "phone"))
    async with house:
        await house.settle()
        directory = house.replica("laptop", "Project").directory / "cur"
        directory.rename(tmp_path / "away")
        await house.ask("laptop")
        assert await _device_errors(house) == {"laptop": "work/Project", "phone": None}

    async with house:
        user.receive("x")
        await house.ask("work", "phone")
        await house.ask("laptop")
        assert await _device_errors(house) == {"laptop": "work/Project", "phone": None}
        assert house.errors == {}
        assert house.replica("laptop").keys() == ["x"]
        assert sorted(user.flags("Project")) == ["a", "b"]
        assert house.replica("phone", "Project").keys() == ["a", "b"]
        assert {row.state for row in await house.rows(select(schema.replica_message.c.state))} == {ReplicaState.PRESENT}
        assert not directory.exists()

        (tmp_path / "away").rename(directory)
        user.receive("c", mailbox="Project")
        await house.settle()
        assert house.replica("laptop", "Project").keys() == ["a", "b", "c"]
        assert await _device_errors(house) == {"laptop": None, "phone": None}


async def _device_errors(house: House) -> dict[str, str | None]:
    """Return the mailbox that each device's error names."""
    rows = await house.rows(select(schema.device.c.name, schema.device.c.error))
    return {row.name: row.error and row.error.partition(":")[0] for row in rows}


async def _device_states(house: House) -> dict[str, str]:
    rows = await house.rows(select(schema.device.c.name, schema.device.c.state))
    return {row.name: row.state for row in rows}


def _as_file(body: bytes) -> bytes:
    """Return the octets of a file: LF for each CRLF when there is no other line end."""
    rest = body.replace(b"\r\n", b"")
    return body if b"\r" in rest or b"\n" in rest else body.replace(b"\r\n", b"\n")


def _corpus() -> Iterator[bytes]:
    count = 0
    for path in sorted(_CORPUS.rglob("*")):
        if path.is_file() and path.suffix in {".eml", ".msg", ".txt", ""} and count < _CORPUS_MAX:
            octets = path.read_bytes()
            if octets and b"\0" not in octets:
                count += 1
                yield octets
