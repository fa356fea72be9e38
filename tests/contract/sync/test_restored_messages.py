"""What a server deletes while a device changes it in a way that is stronger comes back, once, where it was."""

from contextlib import suppress
from pathlib import Path

import pytest

from syncd.errors import SyncdError
from tests.contract.sync import pop3_devices
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import DEVICES, TWO, assert_everywhere, come_back, house_of, remove

SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"


@pytest.mark.parametrize("to_trash", [True, False], ids=["to-trash", "expunged"])
async def test_device_flags_what_the_web_mail_deleted(tmp_path: Path, provider: Provider, to_trash: bool) -> None:
    """Whatever deleted it, a flag that nobody had heard of brings the message back, with what the server has of it."""
    provider.receive("a", "b", "c")
    async with Tap(provider.server.imap_port) as tap:
        async with house_of(tmp_path, provider, port=tap.port) as house:
            await house.settle()
            before = house.replica("phone").find("a")
        asked = len(tap.bodies)
        provider.store("a", "+FLAGS (\\Seen)")
        if to_trash:
            provider.move("a", "c", to="Trash")
        else:
            provider.expunge("a", "c")
        house.replica("phone").mark("a", add="F")
        house.replica("laptop").mark("c", add="S")

        async with house:
            await house.settle()

            assert provider.flags() == {"a": {SEEN, FLAGGED} if to_trash else {FLAGGED}, "b": frozenset()}
            assert [one.flags() for one in house.replicas()] == [provider.flags()] * len(DEVICES)
            assert_everywhere(house, provider, "Trash", *(["c"] if to_trash else []))
            assert len(provider.bodies()) == 2
            assert house.replica("phone").find("a").inode == before.inode
        assert tap.bodies[asked:] == []


async def test_restored_messages_are_kept_by_a_restart_and_their_flags_go_on(tmp_path: Path, user: Provider) -> None:
    """What came back is a message like others: it is flagged, deleted, and goes to Trash."""
    user.receive("a")
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        user.expunge("a")
        house.replica("phone").mark("a", add="F")
        await house.settle()
        assert_everywhere(house, user, "INBOX", "a")

    async with house:
        house.replica("laptop").mark("a", add="S")
        await house.settle()
        assert user.flags() == {"a": {SEEN, FLAGGED}}

        remove(house, "phone", "a")
        await house.settle()
        assert_everywhere(house, user, "INBOX")
        assert_everywhere(house, user, "Trash", "a")


async def test_flags_of_several_devices_and_one_taken_back(tmp_path: Path, user: Provider) -> None:
    """Each device's change since the last agreement holds, as if the message had never gone."""
    user.receive("a", flags=(ANSWERED,))
    async with house_of(tmp_path, user) as house:
        await house.settle()
    user.expunge("a")
    house.replica("laptop").mark("a", remove="R")
    house.replica("phone").mark("a", add="F")
    house.replica("nas").mark("a", add="P")

    async with house:
        await house.settle()

        assert user.flags() == {"a": {FLAGGED, "$Forwarded"}}
        assert [one.flags() for one in house.replicas()] == [user.flags()] * len(DEVICES)
        assert len(user.bodies()) == 1


@pytest.mark.parametrize("deletion", ["trash", "expunge"])
async def test_device_that_flags_after_another_ones_deletion_was_carried_out(
    tmp_path: Path, user: Provider, deletion: str
) -> None:
    """It had not heard of it: the message comes back, also to the device that had deleted it."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, delete=deletion) as house:
        await house.settle()
        away = house.config.devices["nas"].path.rename(tmp_path / "away")
        remove(house, "laptop", "a", "b")
        await house.ask("laptop")
        await house.ask("work")
        await house.ask("phone")
        assert house.replica("phone").keys() == []
        Replica(away / house.replica("nas").directory.name).mark("a", add="F")
        await come_back(house, "nas", away=away)

        await house.settle()

        assert_everywhere(house, user, "INBOX", "a")
        assert user.flags() == {"a": {FLAGGED}}
        assert_everywhere(house, user, "Trash", *(["b"] if deletion == "trash" else []))


@pytest.mark.parametrize("command", [b" APPEND ", b"UID MOVE"])
async def test_answer_that_is_lost_leaves_one_message(tmp_path: Path, user: Provider, command: bytes) -> None:
    """What was put back is looked for before it would be put back again."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()

        def cut(line: bytes) -> bool:
            if command in line and not tap.cuts:
                tap.cut_after_bytes = 4
            return False

        tap.drops = cut
        if command == b"UID MOVE":
            user.move("a", to="Trash")
        else:
            user.expunge("a")
        house.replica("phone").mark("a", add="F")
        await house.until(lambda: tap.cuts > 0)
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a", "b")
        assert_everywhere(house, user, "Trash")
        assert len(user.bodies()) == 2
        assert user.flags()["a"] == {FLAGGED}


async def test_flag_follows_a_message_that_was_moved_though_the_wire_breaks_between_its_halves(
    tmp_path: Path, user: Provider
) -> None:
    """That it is gone here was seen, and not yet where it is: it is not put back, and keeps its flag there."""
    user.receive("a", "b")
    user.receive("x", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        house.replica("phone").mark("a", add="F")
        user.move("a", to="Archive")
        tap.drops = lambda line: b"SELECT" in line and b"Archive" in line
        for _ in range(3):
            with suppress(SyncdError):
                await house.ask("work")
            await house.ask(*DEVICES)
        tap.drops = lambda line: False
        await house.settle()

        assert_everywhere(house, user, "INBOX", "b")
        assert_everywhere(house, user, "Archive", "a", "x")
        assert user.flags("Archive") == {"a": {FLAGGED}, "x": frozenset()}


@pytest.mark.parametrize("is_move", [True, False], ids=["moved", "copied-long-ago"])
async def test_flag_of_a_message_that_is_a_copy_elsewhere_when_it_goes(
    tmp_path: Path, user: Provider, is_move: bool
) -> None:
    """A server copies and then expunges: if at once, that was a move, though every device has had the copy before.

    What was there when syncd first listed a mailbox may have been copied long ago.
    """
    user.receive("a", "b")
    user.receive("x", mailbox="Archive")
    if not is_move:
        user.copy("a", "b", to="Archive")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        if is_move:
            user.copy("a", "b", to="Archive")
        await house.settle()
        assert_everywhere(house, user, "Archive", "a", "b", "x")
    house.replica("phone").mark("a", add="F")
    house.replica("laptop").mark("b", add="S")
    user.expunge("a", "b")
    async with house:
        await house.settle()

        assert_everywhere(house, user, "INBOX", *([] if is_move else ["a"]))
        there = {"a": {FLAGGED}, "b": {SEEN}} if is_move else {"a": set(), "b": set()}
        assert user.flags("Archive") == {**there, "x": set()}
        assert [one.flags() for one in house.replicas("Archive")] == [user.flags("Archive")] * len(DEVICES)
        assert user.flags() == ({} if is_move else {"a": {FLAGGED}})


async def test_pop3_message_comes_back_out_of_trash(tmp_path: Path, user: Provider) -> None:
    """Where the store is the server as well: deleted by one device, flagged by another that had not heard of it."""
    user.receive("a", "b")
    async with pop3_devices.house_of(tmp_path, user) as house:
        await house.settle()
        away = house.config.devices["nas"].path.rename(tmp_path / "away")
        pop3_devices.remove(house, "laptop", "a", "b")
        await house.until(lambda: pop3_devices.on(house, "phone", "Trash").keys() == ["a", "b"])
        Replica(away / pop3_devices.on(house, "nas").directory.name).mark("a", add="F")
        await come_back(house, "nas", away=away)

        await house.settle()

        pop3_devices.assert_everywhere(house, "INBOX", "a")
        pop3_devices.assert_everywhere(house, "Trash", "b")
        assert [one.flags() for one in house.replicas(account="isp")] == [{"a": {FLAGGED}}] * len(DEVICES)
