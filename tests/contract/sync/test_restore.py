"""A deleted message comes back where it was, as it was, exactly once, on the server and so on every device."""

import datetime
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from syncd.daemon.people.answers import RestoreReport, RestoreRequest
from syncd.daemon.people.restoring import read_deleted, restore
from syncd.store.people.entries import Question
from syncd.store.people.recall import recall
from syncd.store.people.trouble_report import troubles
from syncd.store.rounds import holds
from syncd.store.tables import schema
from tests.contract.sync import pop3_devices
from tests.contract.sync.house import House
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import DEVICES, TWO, assert_everywhere, house_of, remove

SEEN, FLAGGED = "\\Seen", "\\Flagged"
DATE = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)


async def bring_back(house: House, *messages: str, **chosen: Any) -> RestoreReport:
    """Do what `syncd restore` asks of a daemon."""
    wanted = RestoreRequest(messages, **chosen)
    report = await house.db.write(partial(restore, config=house.config, wanted=wanted, now=house.clock()))
    for name in house.config.accounts:
        house.wakes.account(name).set()
    return report


async def look(house: House, *messages: str, **chosen: Any) -> RestoreReport:
    return await house.db.read(partial(read_deleted, config=house.config, wanted=RestoreRequest(messages, **chosen)))


def fates(report: RestoreReport) -> dict[str, str]:
    """Return what becomes of each message by its subject."""
    return {one.subject: one.fate for one in report.lines}


async def journal(house: House) -> int:
    query = select(func.count()).select_from(schema.journal).where(schema.journal.c.message_id.is_not(None))
    return int((await house.rows(query))[0][0])


async def test_message_that_was_expunged_comes_back_as_it_was(tmp_path: Path, user: Provider) -> None:
    """Deleted on a device, then from the Trash: by its Message-ID into INBOX, with flags, keyword and date, once."""
    user.receive("a", "b", flags=(SEEN, FLAGGED, "urgent"), date=DATE)
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        octets = house.replica("nas").find("a").octets
        remove(house, "laptop", "a")
        await house.settle()
        user.expunge("a", mailbox="Trash")
        await house.settle()
        assert_everywhere(house, user, "INBOX", "b")
        asked = len(tap.bodies)
        (line,) = (await look(house, "<a@example.org>")).lines
        assert (line.mailbox, line.to, line.fate) == ("INBOX", "INBOX", "sent")
        assert line.subject

        for _ in range(2):
            await bring_back(house, "<a@example.org>")
        await house.settle()

        assert_everywhere(house, user, "INBOX", "a", "b")
        assert_everywhere(house, user, "Trash")
        assert user.flags()["a"] == {SEEN, FLAGGED, "urgent"}
        assert tap.bodies[asked:] == []
        assert house.replica("nas").find("a").octets == octets
        assert int(house.replica("nas").find("a").path.stat().st_mtime) == int(DATE.timestamp())
        assert await journal(house) == 0
        assert list(fates(await bring_back(house, "<a@example.org>")).values()) == ["there"]


async def test_message_in_the_trash_is_moved_back(tmp_path: Path, user: Provider) -> None:
    """Named by the number of its place in INBOX; nothing is sent, and what is in Trash beside it stays."""
    user.receive("a", "b", "c")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        remove(house, "phone", "a", "b")
        await house.settle()
        assert_everywhere(house, user, "Trash", "a", "b")
        number = (await look(house, "a@example.org")).lines[0].message
        begun = len(tap.lines)

        report = await bring_back(house, str(number))
        await house.settle()

        assert [(one.fate, one.there, one.to) for one in report.lines] == [("moved", "Trash", "INBOX")]
        assert_everywhere(house, user, "INBOX", "a", "c")
        assert_everywhere(house, user, "Trash", "b")
        assert not any(b" APPEND " in line for line in tap.lines[begun:])


async def test_whole_deleted_mailbox_comes_back(tmp_path: Path, user: Provider) -> None:
    """Made again with all that it had when it went, equal messages as many as they were; what was moved stays."""
    user.receive("a", "b", "moved", mailbox="Projects")
    user.receive_raw([letter("same")] * 2, mailbox="Projects")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        user.move("moved", mailbox="Projects", to="INBOX")
        await house.settle()
        with user.server.imap(user.user) as client:
            client.delete("Projects")
        await house.settle()
        await house.settle()
        assert "Projects" not in user.mailboxes()
        await _release(house)
        await house.settle()
        assert not any(house.replica(device, "Projects").directory.exists() for device in DEVICES)

        report = await bring_back(house, account="work", mailbox="Projects")
        await house.settle()

        assert report.counts == {"sent": 4}
        assert_everywhere(house, user, "INBOX", "moved")
        assert [one.keys() for one in house.replicas("Projects")] == [["a", "b", "same", "same"]] * 3
        assert sorted(user.flags("Projects")) == ["a", "b", "same"]
        assert len(user.bodies("Projects")) == 4


async def test_removals_that_are_held_come_back_by_the_files_of_the_devices(tmp_path: Path, user: Provider) -> None:
    """What the guard holds is restored without a file being written anew, and the hold is over."""
    keys = [f"k{number:02}" for number in range(40)]
    user.receive(*keys)
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        user.expunge(*keys[:30])
        await house.settle()
        before = {path.stat().st_ino for path in house.replica("laptop").directory.glob("cur/*")}

        report = await bring_back(house, mailbox="work/INBOX")
        again = await bring_back(house, mailbox="work/INBOX")
        assert again.counts.keys() <= {"underway"}
        await house.settle()

        assert report.counts == {"kept": 30}
        assert_everywhere(house, user, "INBOX", *keys)
        assert {path.stat().st_ino for path in house.replica("laptop").directory.glob("cur/*")} == before
        assert await house.rows(select(schema.hold.c.id)) == []


async def test_another_mailbox_may_have_it_and_a_refusal_is_tried_again(tmp_path: Path, user: Provider) -> None:
    """Into the one that is named; refused, it is told and waits, and is no second time wanted."""
    user.receive("a")
    user.receive("x", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        await house.settle()
        user.expunge("a")
        await house.settle()
        tap.refuses = lambda line: b" APPEND " in line

        await bring_back(house, "<a@example.org>", to="work/Archive")
        await house.settle()
        assert list(fates(await bring_back(house, "<a@example.org>")).values()) == ["underway"]
        (refused,) = await house.db.read(partial(troubles, limit=9))
        assert (refused.device_id, refused.uid, "not this" in refused.error) == (None, 1, True)
        assert ("restore", "person", "refused") in [
            (one.verb, one.origin, one.outcome) for one in await house.db.read(partial(recall, question=Question()))
        ]

        tap.refuses = lambda line: False
        await house.ask("work")
        await house.settle()

        assert_everywhere(house, user, "Archive", "a", "x")
        assert_everywhere(house, user, "INBOX")
        assert list(fates(await look(house, "<a@example.org>")).values()) == ["there"]


async def test_pop3_mail_comes_back_by_the_store(tmp_path: Path, user: Provider) -> None:
    """Deleted on a device, and from its Trash on another, or with its mailbox: in one transaction, on all devices."""
    user.receive("a", "b", "c")
    async with pop3_devices.house_of(tmp_path, user) as house:
        await house.settle()
        pop3_devices.on(house, "laptop").mark("a", add="F")
        await house.settle()
        pop3_devices.remove(house, "laptop", "a", "b")
        await house.settle()
        pop3_devices.remove(house, "phone", "a", mailbox="Trash")
        await house.settle()
        pop3_devices.assert_everywhere(house, "Trash", "b")

        lists = pop3_devices.make(house, "phone", "Lists")
        pop3_devices.move(house, "phone", "c", "Lists")
        await house.settle()
        await house.settle()
        shutil.rmtree(lists.directory)
        await house.settle()
        await house.settle()
        pop3_devices.assert_everywhere(house, "Trash", "b", "c")
        assert not pop3_devices.on(house, "nas", "Lists").directory.exists()

        report = await bring_back(house, account="isp", mailbox="INBOX")
        await bring_back(house, mailbox="isp/Lists")
        await house.settle()

        assert report.counts == {"sent": 1, "moved": 1}
        pop3_devices.assert_everywhere(house, "INBOX", "a", "b")
        pop3_devices.assert_everywhere(house, "Lists", "c")
        pop3_devices.assert_everywhere(house, "Trash")
        assert "\\Flagged" in pop3_devices.on(house, "nas").flags()["a"]
        assert await journal(house) == 0


async def test_of_two_equal_messages_both_come_back_though_the_wire_is_cut(tmp_path: Path, user: Provider) -> None:
    """The one that came before the cut is not taken for the other as well."""
    user.receive_raw([letter("same")] * 2)
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        tap.says = lambda line: line.replace(b" MULTIAPPEND", b"")
        await house.settle()
        user.expunge("same")
        user.expunge("same")
        await house.settle()
        assert len(user.bodies()) == 0
        sent: list[bytes] = []

        def cuts_the_second(line: bytes) -> bool:
            sent.extend([line] if b" APPEND " in line else [])
            return b" APPEND " in line and len(sent) == 2

        tap.drops = cuts_the_second
        await bring_back(house, "<same@example.org>")
        await house.settle()

        assert len(user.bodies()) == 2
        assert len(sent) == 3


async def _release(house: House) -> None:
    for one in await house.db.read(holds.holds):
        await house.db.write(partial(holds.release_hold, hold_id=one.id))
