"""What status reads of a store, on both databases."""

from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Table, insert, select, update

from syncd.config.model import Config
from syncd.mail.tree import ReplicaState
from syncd.reconcile.planner import Selection
from syncd.store.engine.database import Database
from syncd.store.people.report import account_ids, store_report
from syncd.store.people.tallies import AccountTally, Deeds, DeviceTally, tallies
from syncd.store.people.trouble_report import mailbox_errors, trouble_count
from syncd.store.tables.schema import (
    account,
    base_message,
    body,
    device,
    journal,
    mailbox,
    replica,
    replica_message,
    server_message,
    trouble,
)
from syncd.store.trees import history
from syncd.sync.wanted import wanted

NOW = 1_700_000_000.0


def row(conn: Connection, table: Table, **values: Any) -> int:
    """Insert a row and return its id."""
    return int(conn.execute(insert(table).values(**values).returning(table.c.id)).scalar_one())


def fill(conn: Connection) -> None:
    """Make one account with two mailboxes, and one device with a replica of the first."""
    work = row(conn, account, name="work", kind="imap", identity="x", succeeded_at=NOW, failures=2, error="lost")
    inbox = row(
        conn,
        mailbox,
        account_id=work,
        name="INBOX",
        wire_name=b"INBOX",
        is_selectable=True,
        is_selected=True,
        version=9,
    )
    row(conn, mailbox, account_id=work, name="Old", wire_name=b"Old", is_selectable=True, is_selected=False)
    row(conn, mailbox, account_id=work, name="No", wire_name=b"No", is_selectable=True, is_selected=True, gone_at=NOW)
    laptop = row(conn, device, name="laptop", path="/srv/laptop", layout="fs", state="active", settled_at=NOW)
    copy = row(
        conn, replica, device_id=laptop, mailbox_id=inbox, directory="INBOX", selection="", server_cursor=7, version=3
    )
    stored = row(
        conn,
        body,
        digest=b"d" * 32,
        header_digest=b"h" * 32,
        size_bytes=3,
        lf_size_bytes=3,
        is_crlf=True,
        codec="plain",
        chunks=1,
        stored_at=NOW,
    )
    states = [*ReplicaState, ReplicaState.PRESENT, ReplicaState.MISSING]
    for uid, state in enumerate(states, start=1):
        message = row(
            conn,
            server_message,
            mailbox_id=inbox,
            uidvalidity=1,
            uid=uid,
            size_bytes=3,
            internaldate=int(NOW),
            version=uid,
            body_id=stored if uid > 1 else None,
            gone_at=NOW if uid == len(states) else None,
        )
        row(
            conn,
            replica_message,
            replica_id=copy,
            message_id=None if state in {ReplicaState.NEW, ReplicaState.FOUND} else message,
            name=f"file{uid}",
            subdir="cur",
            state=state,
            size_bytes=3,
            mtime=int(NOW),
            form="raw",
            version=uid,
        )
    for device_id, retry_at in ((None, NOW + 60), (laptop, 10.0**12)):
        row(
            conn,
            trouble,
            mailbox_id=inbox,
            message_id=1,
            device_id=device_id,
            error="refused",
            temper="wait",
            attempts=2,
            since_at=NOW,
            retry_at=retry_at,
        )


@pytest.fixture
def filled(database: Database) -> Database:
    """Return a store with the rows of `fill`."""
    database.write_now(fill)
    return database


def test_report_counts_messages_bodies_and_what_each_device_did(filled: Database) -> None:
    """Every file is counted under what it is, once; what is gone from the server is not there any more."""
    report = filled.read_now(lambda conn: store_report(conn, troubles_max=10))

    (work,) = report.accounts
    assert (work.name, work.kind, work.succeeded_at, work.failures, work.error) == ("work", "imap", NOW, 2, "lost")
    inbox, old = sorted(report.mailboxes, key=lambda one: one.name)
    assert (inbox.messages, inbox.fetched, inbox.is_synced) == (10, 9, True)
    assert (inbox.size_bytes, inbox.fetched_bytes, inbox.unlisted) == (30, 27, 0)
    assert (old.messages, old.fetched, old.is_synced) == (0, 0, False)
    (laptop,) = report.devices
    assert (laptop.name, laptop.state, laptop.settled_at) == ("laptop", "active", NOW)
    (copy,) = report.replicas
    assert (copy.delivered, copy.delivered_bytes, copy.waiting) == (3, 9, 4)
    assert (copy.new, copy.missing, copy.deleted, copy.edited) == (2, 2, 1, 1)


def test_what_is_to_come_is_what_the_device_gets_or_has(filled: Database) -> None:
    """In the middle of a first delivery: not what went before it was delivered, nor what the device does not take."""

    def go_on(conn: Connection) -> None:
        inbox = conn.execute(select(replica.c.mailbox_id)).scalar_one()
        more = {"mailbox_id": inbox, "uidvalidity": 1, "internaldate": int(NOW)}
        for uid in range(100, 110):
            row(conn, server_message, **more, uid=uid, size_bytes=3, version=8, gone_at=NOW)
        for uid in range(200, 205):
            row(conn, server_message, **more, uid=uid, size_bytes=uid, version=8)

    def waiting(**selections: Selection) -> int:
        report = filled.read_now(lambda conn: store_report(conn, troubles_max=10, selections=selections))
        tally = filled.read_now(lambda conn: tallies(conn, after=0, selections=selections)).devices["laptop"]
        assert tally.waiting == report.replicas[0].waiting
        return tally.waiting

    before = waiting()
    filled.write_now(go_on)

    assert waiting() - before == 5
    assert waiting(laptop=Selection(max_size_bytes=202)) - before == 3
    assert waiting(laptop=Selection(not_before=int(NOW) + 1)) == before - 1  # whose file it has, it hears of
    assert waiting(phone=Selection(takes_none=True)) - before == 5


def test_report_counts_the_files_whose_flags_the_device_changed(filled: Database) -> None:
    """Those of which its server has not heard, and that differ from what both agreed on; not our own deliveries."""

    def agree(conn: Connection) -> None:
        files = conn.execute(select(replica_message).where(replica_message.c.state == ReplicaState.PRESENT)).all()
        for file, flags in zip(files, ("\\Seen", ""), strict=True):
            conn.execute(
                insert(base_message).values(replica_id=file.replica_id, message_id=file.message_id, flags=flags)
            )

    filled.write_now(agree)
    unheard = filled.read_now(lambda conn: store_report(conn, troubles_max=10))
    filled.write_now(lambda conn: conn.execute(update(replica).values(replica_cursor=100)).rowcount)
    heard = filled.read_now(lambda conn: store_report(conn, troubles_max=10))

    assert [report.replicas[0].flagged for report in (unheard, heard)] == [1, 0]


def test_report_says_how_many_messages_are_not_listed_yet_and_when_something_changed_last(filled: Database) -> None:
    """As its server counted them when it was read first; once all are listed there are no others."""

    def change(conn: Connection, *, is_listed: bool) -> None:
        conn.execute(update(mailbox).where(mailbox.c.name == "INBOX").values(exists_count=500, is_listed=is_listed))
        history.tell(conn, [history.Happening("appear")], now=NOW + is_listed, origin=history.SERVER)

    found = []
    for is_listed in (False, True):
        filled.write_now(partial(change, is_listed=is_listed))
        report = filled.read_now(lambda conn: store_report(conn, troubles_max=10))
        found.append((max(one.unlisted for one in report.mailboxes), report.changed_at))

    assert found == [(490, NOW), (0, NOW + 1)]


@pytest.mark.parametrize(
    ("laptop", "phone", "expected"),
    [
        ({}, {}, {None: (494, 1482), "laptop": (494, 1482), "phone": (494, 1482)}),
        ({}, {"max_size": "2B"}, {None: (494, 1482), "laptop": (494, 1482)}),
        ({"max_age": "1d"}, {"max_size": "2B"}, {None: (3, 9), "laptop": (3, 9)}),
        ({"accounts": []}, {"mailboxes": ["Old"]}, {}),
    ],
)
def test_what_is_still_to_be_fetched_is_what_devices_take(
    filled: Database, laptop: dict[str, object], phone: dict[str, object], expected: dict[str | None, tuple[int, int]]
) -> None:
    """Of what is not listed yet a device that takes everything takes everything; what is set aside is not asked for."""

    def lack(conn: Connection) -> None:
        young = server_message.c.uid.in_((2, 3, 4))
        conn.execute(update(server_message).where(young).values(body_id=None, internaldate=int(NOW)))
        conn.execute(update(server_message).where(~young).values(internaldate=0))
        conn.execute(update(mailbox).where(mailbox.c.name == "INBOX").values(exists_count=500, uidvalidity=1))

    filled.write_now(lack)
    config = Config.model_validate(
        {
            "store": {"url": "sqlite:////tmp/none.db"},
            "accounts": {"work": {"type": "imap", "host": "h", "username": "u", "password": "x"}},
            "devices": {"laptop": {"path": "/srv/l", **laptop}, "phone": {"path": "/srv/p", **phone}},
            "daemon": {"socket": "/tmp/none.sock"},
        }
    )

    def ask(conn: Connection) -> dict[str | None, tuple[int, int]]:
        found = wanted(conn, config, store_report(conn, troubles_max=10), now=NOW)
        return {device: (one.messages, one.size_bytes) for (_, device), one in found.items()}

    assert filled.read_now(ask) == expected


def test_report_tells_which_troubles_end_by_themselves(filled: Database) -> None:
    """A retry that will never come is none."""
    report = filled.read_now(lambda conn: store_report(conn, troubles_max=10))

    retries = {one.device_id is None: one.retry_at for one in report.troubles}
    assert retries == {True: NOW + 60, False: None}
    assert {(one.uid, one.attempts, one.error) for one in report.troubles} == {(1, 2, "refused")}


def test_file_that_a_server_did_not_take_is_told_with_its_device(filled: Database) -> None:
    """It has no UID, and is tried again; what is on its way without an error is no trouble."""

    def refuse(conn: Connection) -> None:
        inbox = conn.execute(select(mailbox.c.id, mailbox.c.account_id).where(mailbox.c.name == "INBOX")).one()
        own = conn.execute(select(replica_message.c.id).where(replica_message.c.state == ReplicaState.NEW)).scalar_one()
        for error in (None, "too large"):
            row(
                conn,
                journal,
                account_id=inbox.account_id,
                mailbox_id=inbox.id,
                replica_message_id=own,
                kind="taken_in",
                digest=b"",
                header_digest=b"",
                size_bytes=1,
                uidvalidity=1,
                uidnext=1,
                begun_at=NOW,
                attempts=1,
                error=error,
            )

    filled.write_now(refuse)
    report = filled.read_now(lambda conn: store_report(conn, troubles_max=10))

    (refused,) = (one for one in report.troubles if one.uid is None)
    assert (refused.device_id, refused.error, refused.retry_at) == (report.devices[0].id, "too large", NOW + 60)
    assert filled.read_now(lambda conn: trouble_count(conn, of_accounts=("work",))) == 3


def test_long_list_of_troubles_is_cut_but_counted(filled: Database) -> None:
    """A mailbox full of trouble does not make the status endless."""
    report = filled.read_now(lambda conn: store_report(conn, troubles_max=1))

    assert len(report.troubles) == 1
    assert filled.read_now(lambda conn: trouble_count(conn, of_accounts=("work", "other"))) == 2
    assert filled.read_now(lambda conn: trouble_count(conn, of_accounts=("other",))) == 0


def test_mailbox_that_cannot_be_read_is_named_while_it_is_synced(filled: Database) -> None:
    """What is not selected, or no longer listed, is nobody's failure."""
    filled.write_now(lambda conn: conn.execute(update(mailbox).values(error="refused")).rowcount)

    assert filled.read_now(lambda conn: mailbox_errors(conn, of_accounts=("work",))) == {("work", "INBOX"): "refused"}
    assert filled.read_now(lambda conn: mailbox_errors(conn, of_accounts=("other",))) == {}


def test_empty_store_gives_an_empty_report(database: Database) -> None:
    """Before the first run there is nothing, and that is no error."""
    report = database.read_now(lambda conn: store_report(conn, troubles_max=10))

    assert (report.accounts, report.mailboxes, report.devices, report.replicas, report.troubles) == ((), (), (), (), ())
    assert database.read_now(account_ids) == {}


def test_tallies_count_by_names_what_is_not_well(filled: Database) -> None:
    """What metrics show of accounts and devices is what status shows, summed up."""
    found = filled.read_now(lambda conn: tallies(conn, after=0))
    report = filled.read_now(lambda conn: store_report(conn, troubles_max=10))

    (copy,) = report.replicas
    assert found.accounts == {"work": AccountTally(NOW, failing_mailboxes=0, set_aside=2, held=0)}
    unsynced = copy.new + copy.missing + copy.deleted + copy.edited
    assert found.devices == {"laptop": DeviceTally("active", NOW, waiting=copy.waiting, unsynced=unsynced)}
    assert copy.waiting
    assert unsynced
    assert found.size_bytes > 50_000


def test_deeds_are_counted_once_by_who_and_what(filled: Database) -> None:
    """A count goes on from where the last one ended; what was held or refused was not done."""

    def tell(conn: Connection, verb: str, messages: int, **where: Any) -> None:
        history.tell(conn, [history.Happening(verb, messages=messages)], now=NOW, **where)

    def act(conn: Connection) -> None:
        inbox, laptop = (conn.execute(select(table.c.id)).scalars().first() for table in (mailbox, device))
        tell(conn, "list", 300, origin=history.SERVER, mailbox_id=inbox)
        tell(conn, "appear", 2, origin=history.SERVER, mailbox_id=inbox)
        tell(conn, "deliver", 302, origin=history.SERVER, mailbox_id=inbox, device_id=laptop)
        tell(conn, "store", 1, origin=history.DEVICES, mailbox_id=inbox)
        tell(conn, "store", 9, origin=history.DEVICES, mailbox_id=inbox, outcome=history.Outcome.REFUSED)

    filled.write_now(act)
    first = filled.read_now(lambda conn: tallies(conn, after=0))
    filled.write_now(act)
    second = filled.read_now(lambda conn: tallies(conn, after=first.upto))
    third = filled.read_now(lambda conn: tallies(conn, after=second.upto))

    assert set(first.deeds) == {
        Deeds("work", None, "server", "list", 300),
        Deeds("work", None, "server", "appear", 2),
        Deeds("work", "laptop", "server", "deliver", 302),
        Deeds("work", None, "device", "store", 1),
    }
    assert set(second.deeds) == set(first.deeds)
    assert (third.deeds, third.upto) == ((), second.upto)
