"""What a device changed of a message that meanwhile went where the device has no mailbox: it is so there."""

import datetime
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import func, select

from syncd.reconcile.effects import as_text
from syncd.store.due import carried_changes
from syncd.store.due.pending import is_anything_pending
from syncd.store.tables import schema
from syncd.sync.planned import planned
from tests.contract.sync.house import House, Table, imap, pop3
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap

SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"
DEVICES: Mapping[str, Table] = {"phone": {"mailboxes": ["INBOX"]}, "nas": {}}
CARRIED = select(func.count()).select_from(schema.carried_change)


async def test_change_is_stored_where_the_server_moved_the_message(tmp_path: Path, provider: Provider) -> None:
    """The phone takes INBOX alone: what it set and took back is so in Archive, for the server and who has that."""
    provider.receive("a", flags=(ANSWERED, "project"))
    provider.receive("b", "c")
    provider.receive("old", mailbox="Archive")
    house = _house(tmp_path, provider)
    async with house:
        await house.settle()
    house.replica("phone").mark("a", add="F", remove="R")
    house.replica("phone").mark("b", add="S")
    provider.move("a", "b", "c", to="Archive")
    provider.store("a", "+FLAGS (\\Seen)", mailbox="Archive")
    wanted = {"a": {SEEN, FLAGGED, "project"}, "b": {SEEN}, "c": set(), "old": set()}
    async with house:
        await house.settle()
        assert provider.flags("Archive") == wanted
        assert house.replica("nas", "Archive").flags() == wanted
        assert house.replica("phone").keys() == house.replica("nas").keys() == []
        assert (await house.rows(CARRIED))[0][0] == 0


async def test_change_is_stored_though_no_device_takes_where_the_message_went(tmp_path: Path, user: Provider) -> None:
    """The phone alone: one message is fetched to tell that it is the same, and nothing else of that mailbox."""
    user.receive("a", "b")
    user.receive("old", "older", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap:
        house = _house(tmp_path, user, port=tap.port, devices={"phone": {"mailboxes": ["INBOX"]}})
        async with house:
            await house.settle()
        house.replica("phone").mark("a", add="F")
        user.move("a", to="Archive")
        asked = len(tap.bodies)
        async with house:
            await house.settle()
            assert user.flags("Archive") == {"a": {FLAGGED}, "old": set(), "older": set()}
            assert (await house.rows(CARRIED))[0][0] == 0
            assert not await house.db.read(is_anything_pending)
        assert sum(len(uids) for uids in tap.bodies[asked:]) <= 1


async def test_change_whose_mailbox_goes_keeps_nobody_busy(tmp_path: Path, user: Provider) -> None:
    """The store of the flag is cut, and then Archive is deleted, with the message in it."""
    async with Tap(user.server.imap_port) as tap:
        house = await _cut_off(tmp_path, user, tap)
        with user.server.imap(user.user) as client:
            client.delete("Archive")
        tap.drops = lambda _: False
        async with house:
            await house.settle()


async def test_change_is_carried_though_everything_ends_in_between(tmp_path: Path, user: Provider) -> None:
    """The phone's file is gone already, and the server not yet told: the store remembers, and the plan says it."""
    async with Tap(user.server.imap_port) as tap:
        house = await _cut_off(tmp_path, user, tap)
        assert house.replica("phone").keys() == []
        async with house:
            plan = await house.db.read(lambda conn: planned(conn, house.config, now=house.clock(), limit=9))
            ((mailbox, text),) = ((one.mailbox, as_text(one.effect)) for one in plan.effects if one.device == "phone")
            assert mailbox == "Archive"
            assert text.endswith(f" +{FLAGGED}")
            tap.drops = lambda _: False
            await house.settle()
            assert user.flags("Archive") == {"a": {FLAGGED}, "old": set()}
            assert house.replica("nas", "Archive").flags() == {"a": {FLAGGED}, "old": set()}


async def test_refused_change_is_shown_and_tried_again(tmp_path: Path, user: Provider) -> None:
    """A server that says no to the flag keeps nobody from going on, and gets it later."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap:
        house = _house(tmp_path, user, port=tap.port)
        async with house:
            await house.settle()
        house.replica("phone").mark("a", add="F")
        user.move("a", to="Archive")
        tap.refuses = lambda line: b"UID STORE" in line
        async with house:
            await house.until_read(lambda found: len(found) == 1, select(schema.trouble.c.error))
            await house.ask()
            assert user.flags("Archive") == {"a": set(), "old": set()}
            tap.refuses = lambda _: False
            house.shift_s += 3600
            await house.settle()
            assert user.flags("Archive") == {"a": {FLAGGED}, "old": set()}
            assert await house.rows(select(schema.trouble.c.id)) == []


async def test_device_that_gives_up_a_mailbox_has_its_last_changes_stored(tmp_path: Path, user: Provider) -> None:
    """The mailbox is deselected, and the message moved on, before anybody hears of the flag."""
    user.receive("a", "b")
    user.receive("old", mailbox="Archive")
    async with _house(tmp_path, user) as house:
        await house.settle()
    house.replica("phone").mark("a", add="F")
    user.move("a", to="Archive")
    async with _house(tmp_path, user, devices={"phone": {"mailboxes": ["Drafts"]}, "nas": {}}) as house:
        await house.settle()
        assert user.flags("Archive") == {"a": {FLAGGED}, "old": set()}
        assert not house.replica("phone").directory.exists()


async def test_flagged_message_that_only_seemed_to_be_moved_is_put_back(tmp_path: Path, user: Provider) -> None:
    """It was deleted, and Archive got another one of the same size and date; only the body tells, which comes late."""
    date = datetime.datetime(2024, 5, 6, 7, 8, tzinfo=datetime.UTC)
    user.receive("a", "b", date=date, flags=(ANSWERED,))
    user.receive("old", mailbox="Archive")
    house = _house(tmp_path, user, devices={"phone": {"mailboxes": ["INBOX"]}})
    async with house:
        await house.settle()
    house.replica("phone").mark("a", add="F")
    house.replica("phone").mark("b", add="S")  # in passing: no cause to keep it
    user.expunge("a", "b")
    user.receive("c", "d", mailbox="Archive", date=date)
    async with house:
        await house.settle()
        assert user.flags() == {"a": {ANSWERED, FLAGGED}}
        assert user.flags("Archive") == {"c": set(), "d": set(), "old": set()}
        assert house.replica("phone").flags() == {"a": {ANSWERED, FLAGGED}}
        assert (await house.rows(CARRIED))[0][0] == 0
        assert not await house.db.read(is_anything_pending)


async def test_message_that_is_moved_back_before_its_change_is_stored_is_there_once(
    tmp_path: Path, user: Provider
) -> None:
    """With the flag that the phone had set: it was never deleted, though nobody knew where it was for a while."""
    async with Tap(user.server.imap_port) as tap:
        house = await _cut_off(tmp_path, user, tap)
        user.move("a", mailbox="Archive", to="INBOX")
        tap.drops = lambda _: False
        async with house:
            await house.settle()
            await house.db.write(carried_changes.follow)  # as the sweep does
            await house.settle()
            assert user.flags() == {"a": {FLAGGED}}
            assert house.replica("phone").flags() == house.replica("nas").flags() == {"a": {FLAGGED}}
            assert (await house.rows(CARRIED))[0][0] == 0


async def test_read_only_device_carries_nothing(tmp_path: Path, user: Provider) -> None:
    """Nothing that it changes reaches a server, wherever the message went."""
    user.receive("a")
    user.receive("old", mailbox="Archive")
    devices = {"phone": {"mailboxes": ["INBOX"], "read_only": True}, "nas": {}}
    house = _house(tmp_path, user, devices=devices)
    async with house:
        await house.settle()
    house.replica("phone").mark("a", add="F")
    user.move("a", to="Archive")
    async with house:
        await house.settle()
        assert user.flags("Archive") == {"a": set(), "old": set()}


async def test_change_goes_where_another_device_moved_a_message_of_a_pop3_account(
    tmp_path: Path, user: Provider
) -> None:
    """The phone is away meanwhile. The store is the server there, and the same holds."""
    user.receive("a", "b")
    accounts = {"isp": pop3(user.server, user.user)}
    both, without = (House(tmp_path, accounts=accounts, devices=devices) for devices in (DEVICES, {"nas": {}}))
    async with both:
        await both.settle()
    both.replica("phone", account="isp").mark("a", add="F")
    inbox, junk = (both.replica("nas", name, account="isp") for name in ("INBOX", "Junk"))
    moved = inbox.find("a").path
    async with without:
        moved.rename(junk.directory / "cur" / moved.name)
        await without.settle()
        assert junk.flags() == {"a": set()}
    async with both:
        await both.settle()
        assert junk.flags() == {"a": {FLAGGED}}
        assert both.replica("phone", account="isp").keys() == ["b"]


async def _cut_off(tmp_path: Path, user: Provider, tap: Tap) -> House:
    """Return a house, left, whose phone flagged a message that is in Archive now; each store of a flag is cut."""
    user.receive("a")
    user.receive("old", mailbox="Archive")
    house = _house(tmp_path, user, port=tap.port)
    async with house:
        await house.settle()
    house.replica("phone").mark("a", add="F")
    user.move("a", to="Archive")
    tap.drops = lambda line: b"UID STORE" in line
    async with house:
        await house.until_read(lambda found: found == [1], CARRIED)
    return house


def _house(tmp_path: Path, user: Provider, *, port: int | None = None, devices: Mapping[str, Table] = DEVICES) -> House:
    return House(tmp_path, accounts={"work": imap(user.server, user.user, port=port)}, devices=devices)
