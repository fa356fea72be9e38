"""The plan is what the rounds then do, changes nothing by being asked for, and says what the guard would hold."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select

from syncd.daemon.people.reading import read_plan, read_status
from syncd.mail.tree import ReplicaState
from syncd.reconcile.guard import Reason
from syncd.store.people.entries import Question
from syncd.store.people.recall import recall
from syncd.store.rounds import holds
from syncd.store.tables import schema
from syncd.store.trees import history
from syncd.sync.planned import Plan, planned
from syncd.sync.waits import What
from tests.contract.sync.house import House, MakeDovecot, until_state
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import TWO, add, house_of, make, remove


async def test_what_is_planned_while_the_server_is_away_is_what_is_done_afterwards(
    tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str
) -> None:
    """A flag, a draft, a file that was moved, a deletion: each effect of the plan is in the history afterwards."""
    server = make_dovecot()
    user = Provider(server, mail_user)
    user.receive("a", "b", "c", "d", flags=("\\Seen",))
    user.receive("old", mailbox="Archive")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        server.stop()

        house.replica("laptop").mark("a", add="F")
        remove(house, "nas", "b")
        file = house.replica("phone").find("c").path
        file.rename(house.replica("phone", "Archive").directory / "cur" / file.name)
        add(house, "laptop", "draft", mailbox="Drafts", letters="DS")
        await until_state(house, ReplicaState.DELETED, 2)
        await house.until_read(lambda found: len(found) == 2, select(schema.journal.c.id))
        plan = await _plan(house)
        assert await _plan(house) == plan
        before = (await _ask(house))[-1].id

        server.start()
        await house.settle()

        wanted = {
            (one.account, one.mailbox, one.device, told.verb, told.detail)
            for one in plan.effects
            for told in (history.of(one.effect),)
        }
        assert {(mailbox, device, verb) for _, mailbox, device, verb, _ in wanted} == {
            ("INBOX", "laptop", "store"),
            ("INBOX", "nas", "move"),
            ("INBOX", "phone", "move"),
            ("Drafts", "laptop", "append"),
        }
        done = {
            (one.account, one.mailbox, one.origin, one.verb, one.detail)
            for one in await _ask(house)
            if one.id > before and one.device is None and one.origin != "server"
        }
        assert done == wanted


async def test_what_the_guard_would_hold_is_said_before_it_is_held(
    tmp_path: Path, make_dovecot: MakeDovecot, mail_user: str
) -> None:
    """And why; asking holds nothing. A file that is missing once is to be looked for first."""
    server = make_dovecot()
    user = Provider(server, mail_user)
    user.receive(*(f"k{number:02}" for number in range(30)))
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        server.stop()
        remove(house, "laptop", *(f"k{number:02}" for number in range(27)))
        await until_state(house, ReplicaState.DELETED, 27)

        plan = await _plan(house)

        assert {(one.device, type(one.effect).__name__, one.held) for one in plan.effects} == {
            ("laptop", "Move", Reason.TOO_MANY)
        }
        assert sorted(one.uid or 0 for one in plan.effects) == list(range(1, 28))
        assert await house.db.read(holds.holds) == ()

        server.start()
        await house.settle()
        assert len((await house.db.read(holds.holds))[0].effects) == 27
        assert (await _plan(house)).effects == ()


async def test_what_devices_did_to_mailboxes_is_planned_or_told_as_set_aside(tmp_path: Path, user: Provider) -> None:
    """One made, one renamed and one removed, while the server refuses all three: with its reason and the next try."""
    user.receive(*(f"m{number}" for number in range(9)), mailbox="Lists")
    user.receive("x", mailbox="Empty")
    user.expunge("x", mailbox="Empty")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await house.settle()
        tap.refuses = lambda line: b" CREATE " in line or b" RENAME " in line
        make(house, "laptop", "New")
        house.replica("phone", "Lists").directory.rename(house.replica("phone", "Old").directory)
        shutil.rmtree(house.replica("nas", "Empty").directory)
        await house.until_read(lambda found: len(found) == 3, select(schema.mailbox_change.c.id))
        await house.settle()

        status = await read_status(house.db, house.config, now=house.clock())
        plan = await read_plan(house.db, house.config, now=house.clock())
        later = await read_plan(house.db, house.config, now=house.clock() + 3600)

        told = {one.mailbox: (one.device, one.uid, one.is_mailbox, one.error) for one in status.troubles}
        refused = (None, True)
        assert told == {
            "New": ("laptop", *refused, 'create refused by the server: "not this"'),
            "Old": ("phone", *refused, 'rename refused by the server: "not this"'),
            "Empty": ("nas", *refused, 'rename refused by the server: "not this"'),
        }
        assert all(one.retry_at is not None and one.retry_at > one.since_at for one in status.troubles)
        assert plan.effects == ()
        ids = {row.name: row.id for row in await house.rows(select(schema.mailbox.c.name, schema.mailbox.c.id))}
        assert {(one.device, one.mailbox): (one.text, one.effect) for one in later.effects} == {
            ("laptop", "New"): ("make the mailbox", {"verb": "makemailbox"}),
            ("phone", "Old"): (
                f"rename mailbox {ids['Lists']} to this",
                {"verb": "renamemailbox", "mailbox_id": ids["Lists"]},
            ),
            ("nas", "Empty"): ("delete the mailbox", {"verb": "deletemailbox", "mailbox_id": ids["Empty"]}),
        }

        tap.refuses = lambda line: False
        house.shift_s += 3600
        await house.settle()
        status = await read_status(house.db, house.config, now=house.clock())
        assert status.troubles == ()
        assert {"New", "Old"} <= user.mailboxes()
        assert not {"Lists", "Empty"} & user.mailboxes()


async def test_mailbox_that_could_not_be_read_yet_is_told_to_come_first(tmp_path: Path, user: Provider) -> None:
    """The server lists it and does not open it: as nothing is known of what is in it, there is not nothing to do."""
    user.receive("a")
    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port, devices=TWO) as house:
        tap.refuses = lambda line: b" SELECT " in line
        await house.settle()
        unread = (await _plan(house)).waits

        tap.refuses = lambda line: False
        house.shift_s += 3600
        await house.settle()

        assert {(one.account, one.mailbox, one.device, one.messages) for one in unread if one.what is What.LIST} == {
            ("work", str(name), None, 0) for name in user.mailboxes()
        }
        assert (await _plan(house)).waits == ()


async def _plan(house: House) -> Plan:
    return await house.db.read(partial(planned, config=house.config, now=house.clock(), limit=100))


async def _ask(house: House) -> tuple[Any, ...]:
    return await house.db.read(partial(recall, question=Question()))
