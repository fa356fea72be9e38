"""Cost follows what changed, not what is stored; and what changes in tens of thousands never is in memory at once."""

import asyncio
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from syncd.config.model import Config
from syncd.reconcile.changes import Reflagged, Sighting
from syncd.reconcile.deletions import ToTrash
from syncd.reconcile.planner import Policy, Selection
from syncd.store.files import added_files, uploads
from syncd.store.rounds import pairs
from syncd.store.tables import own_tables, schema
from syncd.store.trees import replica_tree
from syncd.store.trees.devices import ReplicaRow
from syncd.sync.planned import planned
from syncd.sync.policies import policy_of
from syncd.sync.pop3.store_server import StoreServer
from syncd.sync.rounds.round_news import news_of
from syncd.sync.rounds.server_plan import plan_changes
from syncd.sync.rounds.server_round import ServerRound
from syncd.sync.rounds.sides import RoundResult
from syncd.sync.served import leftover
from syncd.sync.waits import What
from tests.contract.store.scale import NOW, Large, large_of, steps

FEW, MANY = 100, 100_000
EFFECTS = 50_000
DELETIONS = 10_000
MB = 1024 * 1024


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Large, Large]]:
    """Yield a small and a large store, in each of which a device has marked one message and a server another."""
    directory = tmp_path_factory.mktemp("scale")
    with large_of(directory, count=FEW) as small, large_of(directory, count=MANY) as large:
        for one in (small, large):
            one.flag_files(below=2)
            one.run("UPDATE server_message SET flags = '\\Flagged', version = 1000 WHERE id = 7")
            one.run("UPDATE mailbox SET version = 1000 WHERE name = 'INBOX'")
        yield small, large


def config_of(directory: Path) -> Config:
    account = {"type": "imap", "host": "imap.example.org", "username": "ana", "password": "x"}
    return Config.model_validate(
        {
            "store": {"url": f"sqlite:///{directory}/syncd.db"},
            "accounts": {"work": account},
            "devices": {"laptop": {"path": str(directory / "laptop")}},
            "daemon": {"socket": str(directory / "socket")},
        }
    )


def of_replica(large: Large, directory: Path) -> Callable[[Connection], Any]:
    policy = policy_of(large.of, large.inbox, Selection())
    return partial(news_of, device=large.device, of=large.of, policy=policy, now=NOW)


def of_server(large: Large, directory: Path) -> Callable[[Connection], Any]:
    policy = policy_of(large.of, large.inbox, Selection(), deletion=ToTrash(None, "Trash"))
    return partial(plan_changes, mailbox=large.inbox, replicas=((large.of, policy),), now=NOW)


def of_everything(large: Large, directory: Path) -> Callable[[Connection], Any]:
    return partial(planned, config=config_of(directory), now=NOW, limit=100)


def of_rest(large: Large, directory: Path) -> Callable[[Connection], Any]:
    of = {"of_accounts": ("work",), "of_devices": ("laptop",)}
    return partial(leftover, config=config_of(directory), now=NOW, **of)


def of_uploads(large: Large, directory: Path) -> Callable[[Connection], Any]:
    mine = frozenset({large.of.id})
    return partial(uploads.due, account_id=large.account_id, of=uploads.Bringers(mine), now=NOW)


def of_names(large: Large, directory: Path) -> Callable[[Connection], Any]:
    return partial(replica_tree.places, replica_id=large.of.id, names={"m1", "m7", "nobody"})


def of_added(large: Large, directory: Path) -> Callable[[Connection], Any]:
    def of_header(conn: Connection) -> Any:
        known = added_files.known_message_ids(conn, ["<a@example.org>", "<b@example.org>"])
        return known, added_files.alike(conn, large.of.id, "<a@example.org>")

    return of_header


@pytest.mark.parametrize("of", [of_replica, of_server, of_everything, of_rest, of_uploads, of_names, of_added])
def test_one_changed_row_costs_the_same_among_a_hundred_and_a_hundred_thousand(
    pair: tuple[Large, Large], tmp_path: Path, of: Callable[[Large, Path], Callable[[Connection], Any]]
) -> None:
    """In instructions of the database: no row is read that did not change, whatever the machine is doing besides."""
    small, large = (steps(one, of(one, tmp_path)) for one in pair)

    assert large <= small * 1.1 + 50


def test_plan_of_one_change_of_each_side_has_both(pair: tuple[Large, Large], tmp_path: Path) -> None:
    """What the counts above are of is the whole plan."""
    for one in pair:
        plan = one.db.read_now(of_everything(one, tmp_path))
        assert [(type(each.effect).__name__, each.uid) for each in plan.effects] == [("Store", 1), ("Rename", 7)]
        assert plan.is_whole
        assert [(wait.mailbox, wait.what) for wait in plan.waits] == [("Trash", What.FIRST_LOOK)]


def test_plan_of_fifty_thousand_effects_is_shown_from_its_beginning(tmp_path: Path) -> None:
    """As many as are asked for, and that there are more; nothing else of it is held in memory."""
    with large_of(tmp_path, count=EFFECTS, delivered=False) as large:
        show = partial(planned, config=config_of(tmp_path), now=NOW, limit=2000)
        plan, peak = _measured(lambda: large.db.read_now(show))

        assert (len(plan.effects), plan.is_whole) == (2000, False)
        assert peak < 12 * MB
        assert large.db.read_now(partial(pairs.count_server_news, replica_ids=[large.of.id])) == EFFECTS


def test_fifty_thousand_changes_of_a_device_are_stored_a_thousand_at_a_time(tmp_path: Path) -> None:
    """Each round takes its thousand, and memory for that; the history is told, and what is left is counted."""
    with large_of(tmp_path, count=EFFECTS, kind="pop3") as large:
        large.flag_files(below=EFFECTS + 1)
        count_left = partial(pairs.count_replica_news, account_id=large.account_id)
        assert large.db.read_now(count_left) == EFFECTS

        async def push() -> list[RoundResult]:
            server, rounds = StoreServer(clock=lambda: NOW), []
            for _ in range(2):
                policy = policy_of(large.of, large.inbox, Selection(), deletion=ToTrash(None, "Trash"))
                takes_part = partial(_the_only, of=large.of, policy=policy)
                rounds.append(await ServerRound(large.db, server, large.inbox, takes_part, now=NOW).run())
            return rounds

        rounds, peak = _measured(lambda: asyncio.run(push()))

        done = sum(one.effects for one in rounds)
        assert [1000 <= one.planned <= 2000 for one in rounds] == [True] * 2
        assert large.db.read_now(count_left) == EFFECTS - done
        assert peak < 16 * MB
        message, told = schema.server_message.c, own_tables.history.c
        for query in (select(message.id).where(message.flags == "\\Seen"), select(told.id).where(told.verb == "store")):
            assert len(large(lambda conn, query=query: conn.execute(query).all())) == done


def test_thousands_of_deletions_are_planned_without_holding_their_files_in_memory(tmp_path: Path) -> None:
    """All of a mailbox at once, for the guard must judge them together: what is kept of each is the effect alone."""
    with large_of(tmp_path, count=DELETIONS) as large:
        large.flag_files(below=DELETIONS + 1)
        large.run("UPDATE replica_message SET flags = '', state = 'deleted'")

        found, peak = _measured(lambda: large.db.read_now(of_server(large, tmp_path)))

        assert len(found.wishes.message_ids) == DELETIONS
        assert peak < 8 * MB


def test_one_look_at_thousands_of_changes_is_planned_by_pages(tmp_path: Path) -> None:
    """However many files a look sees changed at once, a round reads about a thousand."""
    with large_of(tmp_path, count=2500) as large:
        seen, of = frozenset({"\\Seen"}), large.of
        changes = [Reflagged(n, Sighting(f"m{n}", "S", "cur", seen)) for n in range(1, 2501)]
        large(lambda conn: replica_tree.record_changes(conn, of.id, changes, now=NOW))

        sizes, of = [], large.of
        while of.has_replica_news:
            news = large.db.read_now(partial(pairs.replica_news, of=of, limit=1000))
            sizes.append(len(news.pairs))
            large(
                lambda conn, upto=news.upto: conn.execute(text("UPDATE replica SET replica_cursor = :u"), {"u": upto})
            )
            of = large.of

        assert sum(sizes) == 2500
        assert max(sizes) <= 2000


def _measured(function: Callable[[], Any]) -> tuple[Any, int]:
    """Return what a function returned, and how much memory Python had of it at most."""
    tracemalloc.start()
    try:
        found = function()
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _the_only(_: Connection, *, of: ReplicaRow, policy: Policy) -> tuple[tuple[ReplicaRow, Policy], ...]:
    return ((of, policy),)
