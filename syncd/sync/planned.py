"""Floor 4: the plan as a value, for `syncd plan`: what rounds would do now, read from the store and not done."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from sqlalchemy import Connection

from syncd.config.model import Config
from syncd.mail.tree import Pair
from syncd.reconcile.effects import Effect
from syncd.reconcile.planner import plan
from syncd.store import accounts, pairs, uploads
from syncd.store.devices import ReplicaRow, device_names
from syncd.store.report import account_ids
from syncd.store.successors import with_successors
from syncd.sync.arrivals import due, effect_of
from syncd.sync.arrivals import planned as plan_arrivals
from syncd.sync.policies import deletion_of, policy_of, selection_of
from syncd.sync.served import ServedReplica, served_replicas

_PAIRS_PER_PAGE = 1000


@dataclass(frozen=True, slots=True)
class PlannedEffect:
    """An effect with the replica whose pair asks for it."""

    account: str
    mailbox: str
    device: str
    effect: Effect


@dataclass(frozen=True, slots=True)
class Plan:
    """Hold the first effects of a plan, and whether these are all."""

    effects: tuple[PlannedEffect, ...]
    is_whole: bool


def planned(conn: Connection, config: Config, *, now: float, limit: int) -> Plan:
    """Return what is left to do as far as the store knows; what nobody has observed yet is not in it."""
    found = tuple(islice(_effects(conn, config, now=now), limit + 1))
    return Plan(found[:limit], len(found) <= limit)


def _effects(conn: Connection, config: Config, *, now: float) -> Iterator[PlannedEffect]:
    for served in served_replicas(conn, config):
        if served.replica is None:
            continue
        selection = selection_of(config.devices[served.device], now=now)
        known = accounts.mailboxes(conn, account_id=served.mailbox.account_id)
        deletion = deletion_of(config.accounts[served.account], served.mailbox, known)
        policy = policy_of(served.replica, served.mailbox, selection, deletion=deletion)
        for pair in _pairs(conn, served.replica):
            for effect in plan(pair, policy):
                yield _named(served, effect)
    yield from _arrivals(conn, config, now=now)


def _arrivals(conn: Connection, config: Config, *, now: float) -> Iterator[PlannedEffect]:
    """Yield what becomes of files that devices added and that are in the store."""
    ids, devices = account_ids(conn), device_names(conn)
    for account in config.accounts:
        found = due(uploads.uploads(conn, account_id=ids[account]), now=now) if account in ids else ()
        if not found:
            continue
        names = {row.id: str(row.name) for row in accounts.mailboxes(conn, account_id=ids[account])}
        for one in plan_arrivals(conn, found, account_id=ids[account]):
            source, target_id = one.origin.source, one.upload.mailbox_id
            where = target_id if source is None else source.mailbox_id
            device = devices[one.upload.device_id]
            yield PlannedEffect(account, names[where], device, effect_of(one, names[target_id]))


def _pairs(conn: Connection, of: ReplicaRow) -> Iterator[Pair]:
    """Yield each pair that either side has news of, once."""
    seen: set[int] = set()
    while of.has_server_news:
        news = pairs.server_news(conn, of, limit=_PAIRS_PER_PAGE)
        yield from _unseen(news.pairs, seen)
        of = replace(of, server_cursor=news.upto)
    while of.has_replica_news:
        news = pairs.replica_news(conn, of, limit=_PAIRS_PER_PAGE)
        yield from _unseen(with_successors(conn, of, news.pairs), seen)
        of = replace(of, replica_cursor=news.upto)


def _unseen(found: tuple[Pair, ...], seen: set[int]) -> Iterator[Pair]:
    for pair in found:
        if pair.server is not None and pair.server.id not in seen:
            seen.add(pair.server.id)
            yield pair


def _named(served: ServedReplica, effect: Effect) -> PlannedEffect:
    return PlannedEffect(served.account, str(served.mailbox.name), served.device, effect)
