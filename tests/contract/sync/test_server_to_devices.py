"""What happens on a server reaches every device, whichever rung the server stands on."""

import datetime
from pathlib import Path

from sqlalchemy import select

from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider

SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"


async def test_mail_that_is_there_reaches_every_device_with_its_flags(tmp_path: Path, provider: Provider) -> None:
    """A first sync gives every device all messages with their flags and keywords, and a second pass does nothing."""
    provider.receive("plain", "other")
    provider.receive("marked", flags=(SEEN, FLAGGED, "$Forwarded", "project"))

    async with House(tmp_path, accounts={"work": _imap(provider)}, devices=("laptop", "phone")) as house:
        await house.settle()

        wanted = {"plain": set(), "other": set(), "marked": {SEEN, FLAGGED, "$Forwarded", "project"}}
        for replica in house.replicas():
            assert replica.flags() == wanted
            assert replica.find("plain").path.parent.name == "new"
            assert "P" in replica.find("marked").letters


async def test_new_changed_and_expunged_at_once(tmp_path: Path, provider: Provider) -> None:
    """New mail, changed flags and keywords, and expunges between two passes are all followed."""
    provider.receive(*(f"m{number}" for number in range(8)))
    async with House(tmp_path, accounts={"work": _imap(provider)}, devices=("laptop", "phone")) as house:
        await house.settle()

        provider.expunge("m1", "m6")
        provider.receive("new")
        provider.store("m2", "+FLAGS (\\Seen todo)")
        provider.store("m3", "+FLAGS (\\Flagged)")
        await house.settle()
        provider.store("m2", "-FLAGS (todo)")
        provider.store("m3", "FLAGS (\\Answered)")
        await house.settle()

        wanted = {key: set() for key in ("m0", "m4", "m5", "m7", "new")} | {"m2": {SEEN}, "m3": {ANSWERED}}
        for replica in house.replicas():
            assert replica.flags() == wanted
            assert replica.half_written() == []
        assert provider.flags() == wanted


async def test_newest_message_expunged_as_another_arrives(tmp_path: Path, provider: Provider) -> None:
    """An expunge that new mail makes up for in number is noticed."""
    provider.receive("a", "b", "c")
    async with House(tmp_path, accounts={"work": _imap(provider)}) as house:
        await house.settle()

        provider.expunge("c")
        provider.receive("d")
        await house.settle()

        assert house.replica("laptop").keys() == ["a", "b", "d"]


async def test_changes_while_we_were_away(tmp_path: Path, provider: Provider) -> None:
    """What happened while syncd was stopped is there after its next start."""
    provider.receive("a", "b", "c", flags=(SEEN,))
    house = House(tmp_path, accounts={"work": _imap(provider)}, devices=("laptop", "phone"))
    async with house:
        await house.settle()

    provider.store("a", "FLAGS (\\Flagged later)")
    provider.expunge("b")
    provider.receive("d")
    async with house:
        await house.settle()

        for replica in house.replicas():
            assert replica.flags() == {"a": {FLAGGED, "later"}, "c": {SEEN}, "d": set()}


async def test_mailbox_that_is_made_filled_and_emptied(tmp_path: Path, provider: Provider) -> None:
    """Mailboxes that appear later are synced too; one that is emptied of a few messages is emptied everywhere."""
    provider.receive("first")
    async with House(tmp_path, accounts={"work": _imap(provider)}) as house:
        await house.settle()

        provider.receive("x", "y", mailbox="Lists/Sailing")
        await house.settle()
        assert house.replica("laptop", "Lists/Sailing").keys() == ["x", "y"]
        provider.expunge("x", "y", mailbox="Lists/Sailing")
        await house.settle()

        assert house.replica("laptop", "Lists/Sailing").keys() == []
        assert house.replica("laptop").keys() == ["first"]


async def test_message_added_to_inbox_is_pushed(tmp_path: Path, provider: Provider) -> None:
    """New mail in INBOX reaches devices without anybody asking, by IDLE."""
    provider.receive("first")
    async with House(tmp_path, accounts={"work": _imap(provider)}, devices=("laptop", "phone")) as house:
        await house.settle()

        provider.receive("second")
        latency_s = await house.until(lambda: all(one.keys() == ["first", "second"] for one in house.replicas()))
        print(f"new mail on both devices after {latency_s:.2f} s")

        provider.store("second", "+FLAGS (\\Flagged)")
        provider.expunge("first")
        wanted = {"second": {FLAGGED}}
        latency_s = await house.until(lambda: all(one.flags() == wanted for one in house.replicas()))
        print(f"flag and expunge on both devices after {latency_s:.2f} s")


async def test_age_and_size_select(tmp_path: Path, provider: Provider) -> None:
    """A device gets what it takes, and bodies that no device takes are not fetched."""
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=400)
    provider.receive("old", date=old)
    provider.receive("large", lines=400)
    provider.receive("fresh")
    devices = {
        "laptop": {"max_age": "365d"},
        "phone": {"max_size": "2KB"},
        "watch": {"max_age": "30d", "max_size": "2KB"},
    }

    async with House(tmp_path, accounts={"work": _imap(provider)}, devices=devices) as house:
        await house.settle()

        assert house.replica("laptop").keys() == ["fresh", "large"]
        assert house.replica("phone").keys() == ["fresh", "old"]
        assert house.replica("watch").keys() == ["fresh"]

    without = House(tmp_path / "two", accounts={"work": _imap(provider)}, devices={"watch": devices["watch"]})
    async with without as house:
        await house.settle()
        unfetched = await house.rows(select(schema.server_message).where(schema.server_message.c.body_id.is_(None)))
        assert len(unfetched) == 2


async def test_device_that_takes_more_than_before(tmp_path: Path, provider: Provider) -> None:
    """A wider selection brings what was left out."""
    provider.receive("large", lines=400)
    provider.receive("small")
    narrow = House(tmp_path, accounts={"work": _imap(provider)}, devices={"laptop": {"max_size": "2KB"}})
    async with narrow as house:
        await house.settle()
        assert house.replica("laptop").keys() == ["small"]

    async with House(tmp_path, accounts={"work": _imap(provider)}) as house:
        await house.settle()
        assert house.replica("laptop").keys() == ["large", "small"]


def _imap(provider: Provider, **more: object) -> dict[str, object]:
    return dict(imap(provider.server, provider.user, **more))
