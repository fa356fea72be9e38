"""The history tells what changed, who wanted it and what was held, of each message over its moves, and costs little."""

from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from syncd.store.people.entries import Entry, Question
from syncd.store.people.recall import recall
from syncd.store.rounds import holds
from syncd.store.tables import own_tables
from syncd.store.trees.history import PERSON, Verb
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.three_devices import TWO, add, house_of, remove

DEVICES = ("laptop", "phone", "nas")
Line = tuple[str, str, str, str, str]


async def ask(house: House, **wanted: Any) -> tuple[Entry, ...]:
    return await house.db.read(partial(recall, question=Question(**wanted)))


async def lines(house: House, **wanted: Any) -> list[Line]:
    """Return where, mailbox, what, who and how of each line."""
    return [
        (one.device or "server", one.mailbox or "", f"{one.verb} {one.detail}".strip(), one.origin, one.outcome)
        for one in await ask(house, **wanted)
    ]


async def test_what_devices_and_the_server_do_to_a_message_is_told_over_its_moves(
    tmp_path: Path, user: Provider
) -> None:
    """Flagged here, filed there, flagged in the web mail and deleted: one story, by its number and its Message-ID."""
    user.receive("a", "b", flags=("\\Seen",))
    user.receive("old", mailbox="Archive")
    async with house_of(tmp_path, user) as house:
        await house.settle()

        house.replica("laptop").mark("a", add="F")
        await house.settle()
        file = house.replica("phone").find("a").path
        file.rename(house.replica("phone", "Archive").directory / "cur" / file.name)
        await house.settle()
        user.store("a", "-FLAGS (\\Flagged)", mailbox="Archive")
        await house.settle()
        remove(house, "nas", "a", mailbox="Archive")
        await house.settle()

        told = await lines(house, message="<a@example.org>")
        on_server = [line for line in told if line[0] == "server"]
        assert [line for line in on_server if line[2] != "appear"] == [
            ("server", "INBOX", "store +\\Flagged", "laptop", "done"),
            ("server", "INBOX", "move to Archive", "phone", "done"),
            ("server", "Archive", "store -\\Flagged", "server", "done"),
            ("server", "Archive", "move to Trash", "nas", "done"),
        ]
        assert ("phone", "INBOX", "rename +\\Flagged", "server", "done") in told
        assert ("laptop", "Archive", "rename -\\Flagged", "server", "done") in told
        assert {line[0] for line in told} == {"server", *DEVICES}
        number = (await ask(house, message="<a@example.org>"))[0].message
        assert await lines(house, message=str(number)) == told
        assert {one.uid for one in await ask(house, message="b@example.org")} == {2}


async def test_what_is_added_vanishes_or_appears_is_told(tmp_path: Path, user: Provider) -> None:
    """A draft by its device, new mail and what the web mail expunges by the server; each device's part beside it."""
    user.receive("a", "b")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        before = (await ask(house))[-1].id

        add(house, "laptop", "draft", octets=letter("draft"))
        await house.settle()
        user.receive("new")
        await house.settle()
        user.expunge("b")
        await house.settle()

        new = [one for one in await ask(house) if one.id > before]
        told = [(one.device or "server", one.verb, one.origin) for one in new]
        assert [line for line in told if line[0] == "server"] == [
            ("server", "append", "laptop"),
            ("server", "appear", "server"),
            ("server", "vanish", "server"),
        ]
        assert sorted(line for line in told if line[0] != "server") == sorted(
            [
                *((device, "deliver", "server") for device in ("phone", "nas", *DEVICES)),
                *((device, "remove", "server") for device in DEVICES),
            ]
        )
        assert all(one.message is not None for one in new)


async def test_what_is_held_released_and_done_is_told_of_each_message(tmp_path: Path, user: Provider) -> None:
    """Held by whom and why, released by a person, and then done; filters find it by device, mailbox and account."""
    user.receive(*(f"k{number:02}" for number in range(30)))
    async with house_of(tmp_path, user, devices=TWO) as house:
        await house.settle()
        remove(house, "laptop", *(f"k{number:02}" for number in range(27)))
        await house.settle()

        held = [one for one in await ask(house, device="laptop", mailbox="work/INBOX") if one.outcome == "held"]
        assert len(held) == 27
        assert {(one.verb, one.detail, one.origin, one.reason) for one in held} == {
            ("move", "to Trash", "laptop", "too_many")
        }

        await house.db.write(partial(_release, now=house.clock()))
        await house.settle()

        one = str(held[0].message)
        on_server = [line for line in await lines(house, message=one) if line[0] == "server"]
        assert [line[2:] for line in on_server] == [
            ("move to Trash", "laptop", "held"),
            ("release", "person", "done"),
            ("move to Trash", "laptop", "done"),
        ]
        assert await ask(house, account="other") == ()
        assert await ask(house, mailbox="INBOX", since=house.clock() + 1) == ()


async def test_first_sync_and_rest_cost_few_rows(tmp_path: Path, user: Provider) -> None:
    """A hundred messages on two devices are some rows; a pass in which nothing changed writes none."""
    user.receive(*(f"k{number:03}" for number in range(100)))
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}, devices=("laptop", "phone")) as house:
        await house.settle()
        rows = await house.rows(select(own_tables.history))
        assert len(rows) < 20
        told = {(row.verb, row.device_id is None): 0 for row in rows}
        for row in rows:
            told[row.verb, row.device_id is None] += row.messages
        assert told == {("list", True): 100, ("deliver", False): 200}

        await house.settle()

        assert (await house.rows(select(func.count()).select_from(own_tables.history)))[0][0] == len(rows)


def _release(conn: Any, *, now: float) -> None:
    for one in holds.holds(conn):
        holds.release_hold(conn, hold_id=one.id)
        holds.tell(conn, one, Verb.RELEASE, origin=PERSON, now=now)
