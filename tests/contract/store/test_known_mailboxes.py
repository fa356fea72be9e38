"""What a device knows of its mailboxes after any writes is what it would know if it read all of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Connection, delete, event, insert, select, text, update

from syncd.store.engine.database import Database
from syncd.store.rounds import pairs
from syncd.store.tables.schema import account, device, mailbox, mailbox_change, replica, replica_message
from syncd.store.trees.devices import LEFT
from syncd.sync.device.known_mailboxes import KnownMailboxes, Part
from syncd.sync.device.rounds import due_mailboxes
from tests.contract.store.rows import add
from tests.seed import SEED

ACCOUNTS, SELECTED = {"one": 1, "two": 2}, ("one",)
DEVICE = 1
WRITES = 120
FEW, MANY = 4, 400


def known_of(database: Database) -> KnownMailboxes:
    return KnownMailboxes(database, ("*", "!Spam*"), account_ids=ACCOUNTS, selected=SELECTED)


def shown(known: KnownMailboxes) -> Any:
    """Return all that is asked of it."""
    return (
        [known.served(of) for of in (None, *ACCOUNTS)],
        {part: set(known.of(part)) for part in Part},
        {row.id: row for row in known.replicas},
        {place.replica_id: place for place in known.places},
        known.changes,
        known.found,
        [known.in_order(known.of(part)) for part in (Part.WANTED, Part.OTHER)],
    )


def plant(conn: Connection) -> None:
    for name in (*ACCOUNTS, "unserved"):
        add(name)(conn)
    for name in ("laptop", "phone"):
        conn.execute(insert(device).values(name=name, path=f"/{name}", layout="fs", state="active"))


def wrote(rng: Random, number: int) -> Callable[[Connection], Any]:
    """Return something that is written: to a mailbox, a replica, or what belongs to them."""
    values: dict[str, Any] = rng.choice(
        [
            {"version": number},
            {"gone_at": rng.choice([None, 1.0])},
            {"is_selectable": rng.random() < 0.7},
            {"is_selected": rng.random() < 0.7},
            {"name": rng.choice([f"n{number}", f"Spam{number}"]), "special_use": rng.choice([None, "\\Trash"])},
        ]
    )
    of_replica: dict[str, Any] = rng.choice(
        [
            {"server_cursor": rng.randrange(number + 1)},
            {"version": number},
            {"replica_cursor": number},
            {"selection": rng.choice(["", "all", "leaving", "left"])},
            {"listed_at": rng.choice([None, 1.0])},
            {"directory": f"d{number}"},
        ]
    )

    def any_of(conn: Connection, table: Any) -> int:
        return rng.choice([*conn.execute(select(table.c.id)).scalars()] or [0])

    def make_mailbox(conn: Connection) -> None:
        row = {"wire_name": b"%d" % number, "name": f"m{number}", "attributes": ""}
        flags = {"is_selectable": True, "is_selected": rng.random() < 0.8}
        conn.execute(insert(mailbox).values(account_id=rng.randint(1, 3), **row, **flags))

    def make_replica(conn: Connection) -> None:
        mine = select(replica.c.mailbox_id).where(replica.c.device_id == (of := rng.randint(1, 2)))
        free = [*conn.execute(select(mailbox.c.id).where(mailbox.c.id.not_in(mine))).scalars()]
        if free:
            row = {"directory": f"r{number}", "selection": "all", "listed_at": rng.choice([None, 1.0])}
            conn.execute(insert(replica).values(device_id=of, mailbox_id=rng.choice(free), **row))

    def find_file(conn: Connection) -> None:
        row = {"name": f"f{number}", "subdir": "cur", "flags": "", "state": "found", "size_bytes": 1, "mtime": 1}
        if replica_id := any_of(conn, replica):
            conn.execute(insert(replica_message).values(replica_id=replica_id, form="raw", version=1, **row))

    def change(conn: Connection) -> None:
        row = {"kind": "make", "name": f"c{number}", "state": "wanted", "asked_at": 1.0}
        conn.execute(insert(mailbox_change).values(account_id=1, device_id=rng.randint(1, 2), **row))

    def remove(conn: Connection) -> None:
        table = rng.choice([mailbox, replica, replica_message, mailbox_change])
        conn.execute(delete(table).where(table.c.id == any_of(conn, table)))

    def alter(conn: Connection) -> None:
        conn.execute(update(mailbox).where(mailbox.c.id == any_of(conn, mailbox)).values(values))

    def alter_replica(conn: Connection) -> None:
        conn.execute(update(replica).where(replica.c.id == any_of(conn, replica)).values(of_replica))

    def rename_account(conn: Connection) -> None:
        conn.execute(update(account).where(account.c.id == 1).values(name=f"one{number}"))

    def alter_all(conn: Connection) -> None:
        conn.execute(update(mailbox).values(version=number))

    often = (make_mailbox, make_replica, alter, alter_replica)
    return rng.choice([*often * 6, find_file, change, remove, remove, rename_account, alter_all])


async def test_what_is_known_is_what_a_whole_reading_says(tmp_path: Path) -> None:
    """After each of many writes, one or a few at once, with rows that come, change and go."""
    print(f"SYNCD_SEED={SEED}")
    rng = Random(SEED)
    with Database.open(f"sqlite:///{tmp_path}/syncd.db") as database:
        known = known_of(database)
        database.write_now(plant)
        for number in range(WRITES):
            for part in range(rng.choice([0, 1, 1, 1, 3])):
                database.write_now(wrote(rng, number * 10 + part))
            await known.refresh(DEVICE)

            whole = known_of(database)
            await whole.refresh(DEVICE)
            assert shown(whole) == shown(known), number


async def test_replica_of_a_mailbox_that_its_server_has_no_more(tmp_path: Path) -> None:
    """A device that is late makes one of a mailbox that is not known, for it was gone before any device had it."""
    row = {"wire_name": b"gone", "name": "gone", "attributes": "", "is_selectable": True, "is_selected": True}
    of = {"device_id": DEVICE, "mailbox_id": 1, "directory": "gone", "selection": "all"}
    with Database.open(f"sqlite:///{tmp_path}/syncd.db") as database:
        database.write_now(plant)
        database.write_now(lambda conn: conn.execute(insert(mailbox).values(account_id=1, gone_at=1.0, **row)))
        known = known_of(database)
        await known.refresh(DEVICE)

        database.write_now(lambda conn: conn.execute(insert(replica).values(**of)))
        await known.refresh(DEVICE)

        assert [one.mailbox.id for one in known.served()] == [1]
        assert known.served()


async def test_mailbox_that_is_gone_from_its_server_and_from_the_device_is_not_wanted_again(tmp_path: Path) -> None:
    """Of one that a device once gave up, and selects by now, no directory is made to be removed again."""
    row = {"wire_name": b"gone", "name": "gone", "attributes": "", "is_selectable": True, "is_selected": True}
    of = {"device_id": DEVICE, "mailbox_id": 1, "directory": "gone", "selection": LEFT}
    with Database.open(f"sqlite:///{tmp_path}/syncd.db") as database:
        database.write_now(plant)
        database.write_now(lambda conn: conn.execute(insert(mailbox).values(account_id=1, gone_at=1.0, **row)))
        database.write_now(lambda conn: conn.execute(insert(replica).values(**of)))
        known = known_of(database)

        await known.refresh(DEVICE)

        assert set(known.of(Part.WANTED)) == set()
        assert set(known.of(Part.LEFT)) == {1}


async def test_after_a_write_only_what_it_changed_is_read(tmp_path: Path) -> None:
    """In SQLite, in as many instructions of the database among few mailboxes as among many; so is what a pass asks."""
    costs: list[int] = []
    for count in (FEW, MANY):
        with Database.open(f"sqlite:///{tmp_path}/{count}.db") as database:
            database.write_now(plant)
            database.write_now(partial(fill, count=count))
            known = known_of(database)
            await known.refresh(DEVICE)
            assert len(known.served()) == count

            database.write_now(text_of("UPDATE mailbox SET version = 99 WHERE id = 2"))
            with instructions(database) as counted:
                await known.refresh(DEVICE)
                behind = [one.replica.id for one in known.served_of(known.of(Part.SERVER_NEWS))]
                assert await database.read(partial(pairs.count_server_news, replica_ids=behind)) == 0
                assert await database.read(partial(due_mailboxes, device_id=DEVICE, now=1.0)) == frozenset()
            costs.append(counted[0])

            assert [one.mailbox.id for one in known.served() if one.replica.mailbox_version == 99] == [2]

    assert costs[1] <= costs[0] * 1.1 + 50


def fill(conn: Connection, *, count: int) -> None:
    flags = {"attributes": "", "is_selectable": True, "is_selected": True}
    for number in range(1, count + 1):
        conn.execute(insert(mailbox).values(account_id=1, wire_name=b"%d" % number, name=f"m{number}", **flags))
        conn.execute(
            insert(replica).values(device_id=DEVICE, mailbox_id=number, directory=f"r{number}", selection="all")
        )


def text_of(statement: str) -> Callable[[Connection], Any]:
    return lambda conn: conn.execute(text(statement))


@contextmanager
def instructions(database: Database) -> Iterator[list[int]]:
    """Count the instructions that SQLite runs for readers."""
    counted = [0]

    def count() -> int:
        counted[0] += 1
        return 0

    def begin(conn: Connection) -> None:
        driver: Any = conn.connection.driver_connection
        driver.set_progress_handler(count, 1)

    event.listen(database._reader_engine, "begin", begin)
    try:
        yield counted
    finally:
        event.remove(database._reader_engine, "begin", begin)
