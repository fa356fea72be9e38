"""SIGKILL at any commit, file call or octet sent, and a restart: the same end as undisturbed, nothing lost or doubled.

A few points of each kind are tried; SYNCD_CRASH_POINTS=50 tries fifty, and SYNCD_SEED (`tests.seed`) chooses others.
"""

import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.mail.flags import Flags
from syncd.store.engine.database import Database
from syncd.store.tables import schema
from tests.contract.sync.house import House, Table, imap, pop3
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.crash.child import run
from tests.crash.faults import Fault, Kind
from tests.seed import SEED
from tests.servers.dovecot import Dovecot

POINTS = int(os.environ.get("SYNCD_CRASH_POINTS", "2").replace("all", "2"))
SETTLE = {"settle": "20ms"}
DEVICES: Mapping[str, Table] = {
    "laptop": {**SETTLE},
    "phone": {**SETTLE, "layout": "fs"},
    "usb": {**SETTLE, "link": False},
}
SEEN, FLAGGED, ANSWERED, DRAFT = "\\Seen", "\\Flagged", "\\Answered", "\\Draft"
# About how many points of each kind the two parts of the story pass; a number beyond the last is a run without a kill.
_FIRST = {Kind.COMMIT: 90, Kind.FILE: 1165, Kind.SEND: 115}
_LATER = {Kind.COMMIT: 175, Kind.FILE: 710, Kind.SEND: 170}


class Story:
    """Two accounts, three devices, and what becomes of their mail."""

    def __init__(self, directory: Path, server: Dovecot, user: str, *, port: int) -> None:
        self.work, self.isp = Provider(server, user), Provider(server, f"{user}-isp")
        accounts = {"work": imap(server, user, port=port), "isp": pop3(server, self.isp.user)}
        self.arguments = (directory, accounts, DEVICES)
        self.house = House(directory, accounts=accounts, devices=DEVICES)

    def begin(self) -> None:
        """Fill the servers."""
        self.work.receive(*(f"w{number}" for number in range(14)))
        self.work.receive("w14", "w15", flags=(SEEN, "project"))
        # No UID of Archive is one of INBOX: the tap tells what was asked for, and not where.
        former = [f"former{number}" for number in range(40)]
        self.work.receive(*former, mailbox="Archive")
        self.work.expunge(*former, mailbox="Archive")
        self.work.receive("x0", mailbox="Archive", flags=("filed",))
        self.isp.receive(*(f"i{number}" for number in range(5)))

    def assert_begun(self) -> None:
        """Check that every device has what the servers had."""
        mail: dict[str, Flags] = {f"w{number}": frozenset() for number in range(14)}
        self._assert(
            mail | {"w14": frozenset({SEEN, "project"}), "w15": frozenset({SEEN, "project"})},
            {f"i{number}": frozenset() for number in range(5)},
            {"x0": frozenset({"filed"})},
        )

    def change(self) -> None:
        """Change something on every side."""
        self.work.store("w1", "+FLAGS (\\Flagged todo)")
        self.work.store("w2", "+FLAGS (\\Seen)")
        self.work.store("w14", "-FLAGS (project)")
        self.work.expunge("w3", "w4", "w12")
        self.work.move("w0", to="Trash")
        self.work.move("w8", "w9", "w13", to="Archive")
        self.work.store("w8", "+FLAGS (\\Answered filed)", mailbox="Archive")
        self.work.receive("new", flags=(ANSWERED,))
        self.isp.receive("i5", "i6")
        house = self.house
        house.replica("laptop").mark("w2", add="F")
        house.replica("phone").mark("w5", add="RS")
        house.replica("usb").mark("w15", remove="S")
        house.replica("phone").mark("w9", add="F")
        house.replica("laptop").mark("w12", add="F")
        house.replica("usb").mark("w0", add="R")
        house.replica("laptop").find("w6").path.unlink()
        house.replica("phone").find("w7").path.unlink()
        house.replica("usb").find("w7").path.unlink()
        house.replica("phone").mark("w10", add="S")
        moved = house.replica("phone").find("w10").path
        moved.rename(house.replica("phone", "Archive").directory / "cur" / moved.name)
        copied = house.replica("usb").find("w11").path
        shutil.copy(copied, house.replica("usb", "Archive").directory / "cur" / "1700000000.9.usb:2,")
        (house.replica("laptop", "Drafts").directory / "cur" / "1700000000.1.laptop:2,D").write_bytes(letter("d"))
        (house.replica("usb", "Drafts").directory / "cur" / "1700000000.1.usb:2,D").write_bytes(letter("e"))
        self._change_isp()

    def _change_isp(self) -> None:
        laptop, phone, usb = self.house.replicas(account="isp")
        laptop.mark("i0", add="S")
        phone.mark("i0", add="F")
        laptop.find("i1").path.unlink()
        usb.find("i1").path.unlink()
        lists = self.house.replica("phone", "Lists", account="isp").directory
        for subdir in ("cur", "new", "tmp"):
            (lists / subdir).mkdir(parents=True)
        moved = phone.find("i2").path
        moved.rename(lists / "cur" / moved.name)
        drafts = self.house.replica("usb", "Drafts", account="isp").directory
        (drafts / "cur" / "1700000000.2.usb:2,D").write_bytes(letter("f"))

    def assert_changed(self) -> None:
        """Check that every change is on every side."""
        mail: dict[str, Flags] = {
            f"w{number}": frozenset() for number in range(13) if number not in {3, 4, 6, 7, 8, 9, 10}
        }
        mail |= {
            "w0": frozenset({ANSWERED}),
            "w1": frozenset({FLAGGED, "todo"}),
            "w2": frozenset({SEEN, FLAGGED}),
            "w5": frozenset({SEEN, ANSWERED}),
            "w12": frozenset({FLAGGED}),
            "w14": frozenset({SEEN}),
            "w15": frozenset({"project"}),
            "new": frozenset({ANSWERED}),
        }
        filed = {
            "x0": frozenset({"filed"}),
            "w8": frozenset({ANSWERED, "filed"}),
            "w9": frozenset({FLAGGED}),
            "w13": frozenset[str](),
            "w10": frozenset({SEEN}),
            "w11": frozenset[str](),
        }
        isp = {f"i{number}": frozenset[str]() for number in (3, 4, 5, 6)} | {"i0": frozenset({SEEN, FLAGGED})}
        self._assert(mail, isp, filed)
        served = {"Trash": {"i1": frozenset[str]()}, "Lists": {"i2": frozenset[str]()}, "Drafts": {"f": {DRAFT}}}
        for mailbox, wanted in served.items():
            replicas = self.house.replicas(mailbox, account="isp")
            assert [replica.flags() for replica in replicas] == [wanted] * len(DEVICES), mailbox
        self._assert_in("Trash", {key: frozenset() for key in ("w6", "w7")})
        self._assert_in("Drafts", {key: frozenset({DRAFT}) for key in ("d", "e")})

    def _assert_in(self, mailbox: str, wanted: Mapping[str, Flags]) -> None:
        assert len(self.work.bodies(mailbox)) == len(wanted)
        assert self.work.flags(mailbox) == wanted
        assert [replica.flags() for replica in self.house.replicas(mailbox)] == [wanted] * len(DEVICES)

    def _assert(self, work: Mapping[str, Flags], isp: Mapping[str, Flags], filed: Mapping[str, Flags]) -> None:
        assert self.work.flags() == work
        assert self.work.flags("Archive") == filed
        assert self.isp.left_on_pop3() == 0
        for account, mailbox, wanted in (("work", "INBOX", work), ("isp", "INBOX", isp), ("work", "Archive", filed)):
            for replica in self.house.replicas(mailbox, account=account):
                assert replica.flags() == wanted
                assert replica.half_written() == []

    def names(self) -> set[Path]:
        """Return the path of every message file."""
        of_isp = (("isp", mailbox) for mailbox in ("INBOX", "Trash", "Lists", "Drafts"))
        places = (("work", "INBOX"), ("work", "Archive"), *of_isp)
        replicas = (one for account, mailbox in places for one in self.house.replicas(mailbox, account=account))
        return {file.path for replica in replicas for file in replica.files()}

    def outwait_locks(self) -> None:
        """Make dead processes' locks of Dovecot's files as old as they are when they no longer count."""
        for lock in self.house.directory.rglob("dovecot-uidlist.lock"):
            os.utime(lock, (0, 0))

    def stored_uids(self) -> set[int]:
        """Return the UIDs of the IMAP account's INBOX whose bodies are in the store; nobody may have it open."""
        path = self.house.config.store.sqlite_path
        if path is None or not path.exists():
            return set()
        message, mailbox, account = schema.server_message, schema.mailbox, schema.account
        query = (
            select(message.c.uid)
            .join(mailbox, mailbox.c.id == message.c.mailbox_id)
            .join(account, account.c.id == mailbox.c.account_id)
            .where(account.c.name == "work", message.c.body_id.is_not(None))
        )
        with Database.open(self.house.config.store.url.get_secret_value()) as database:
            return set(database.read_now(lambda conn: list(conn.execute(query).scalars())))


def faults() -> list[tuple[Fault, Fault]]:
    """Return pairs of points spread over both parts of the story."""
    draw = random.Random(SEED)
    pairs: list[tuple[Fault, Fault]] = []
    for kind in Kind:
        for part in range(POINTS):
            first, later = (
                Fault(kind, draw.randint(1 + total * part // POINTS, max(1, total * (part + 1) // POINTS)))
                for total in (_FIRST[kind], _LATER[kind])
            )
            pairs.append((first, later))
    return pairs


@pytest.mark.parametrize("number", range(len(Kind) * POINTS))
async def test_killed_anywhere_and_started_again(tmp_path: Path, dovecot: Dovecot, mail_user: str, number: int) -> None:
    """Killed in the first sync and killed again among changes of all sides, syncd ends where it would have ended."""
    first, later = faults()[number]
    print(f"SYNCD_SEED={SEED}")
    async with Tap(dovecot.imap_port) as tap:
        story = Story(tmp_path, dovecot, mail_user, port=tap.port)
        story.begin()
        print(f"first sync: {first} {_outcome(await run(*story.arguments, first))}")
        committed = story.stored_uids()
        tap.bodies.clear()
        story.outwait_locks()
        await run(*story.arguments)
        assert not committed & {uid for uids in tap.bodies for uid in uids}, "a committed body was fetched again"
        story.assert_begun()

        story.change()
        tap.bodies.clear()
        print(f"changes: {later} {_outcome(await run(*story.arguments, later))}")
        story.outwait_locks()
        await run(*story.arguments)
        story.assert_changed()
        assert not {42, 43, 44} & {uid for uids in tap.bodies for uid in uids}, "a moved body was fetched"

        names = story.names()
        print(f"at rest: {_outcome(await run(*story.arguments))}")
        assert story.names() == names


def _outcome(points: object) -> str:
    return "killed" if points is None else f"not reached, passed {points}"
