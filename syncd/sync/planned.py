"""Floor 4: the plan as a value, for `syncd plan`: what rounds would do now, read from the store and not done."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from sqlalchemy import Connection

from syncd.config.model import Config
from syncd.mail.tree import Pair
from syncd.reconcile.effects import Deliver, Effect, Remove, Shift
from syncd.reconcile.planner import plan
from syncd.store import accounts, pairs, shifts, uploads
from syncd.store.devices import ReplicaRow, device_names
from syncd.store.report import account_ids
from syncd.store.successors import with_successors
from syncd.sync.arrivals import arrival_of, due
from syncd.sync.arrivals import planned as plan_arrivals
from syncd.sync.policies import deletion_of, policy_of, selection_of
from syncd.sync.served import ServedReplica, due_changes, served_replicas
from syncd.sync.shift_round import effect_of

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


@dataclass(frozen=True, slots=True)
class _Shifts:
    """The shifts of one device, by the row id of the file, and the messages that need no delivery because of them."""

    by_file: Mapping[int, Shift]
    successors: frozenset[int]

    def instead_of(self, effect: Effect) -> Effect | None:
        """Return the effect that comes of one that a replica is planned by itself; None: it is done by another."""
        if isinstance(effect, Deliver) and effect.message_id in self.successors:
            return None
        return self.by_file.get(effect.file_id, effect) if isinstance(effect, Remove) else effect


def _effects(conn: Connection, config: Config, *, now: float) -> Iterator[PlannedEffect]:
    all_served = tuple(served_replicas(conn, config))
    shifted = {device: _shifts(conn, config, all_served, device=device, now=now) for device in config.devices}
    for served in all_served:
        if served.replica is None:
            continue
        selection = selection_of(config.devices[served.device], now=now)
        known = accounts.mailboxes(conn, account_id=served.mailbox.account_id)
        deletion = deletion_of(config.accounts[served.account], served.mailbox, known)
        policy = policy_of(served.replica, served.mailbox, selection, deletion=deletion)
        for pair in _pairs(conn, served.replica, has_server=served.mailbox.is_there):
            for effect in plan(pair, policy):
                named = shifted[served.device].instead_of(effect)
                if named is not None:
                    yield PlannedEffect(served.account, str(served.mailbox.name), served.device, named)
    yield from _arrivals(conn, config, now=now)
    devices = device_names(conn)
    for account in config.accounts:
        for change, effect in due_changes(conn, config, account, now=now):
            yield PlannedEffect(account, str(change.name), devices[change.device_id], effect)


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
            yield PlannedEffect(account, names[where], device, arrival_of(one, names[target_id]))


def _shifts(
    conn: Connection, config: Config, all_served: Iterable[ServedReplica], *, device: str, now: float
) -> _Shifts:
    mailboxes = {one.replica.id: one for one in all_served if one.device == device and one.replica is not None}
    of = [one.replica for one in mailboxes.values() if one.replica is not None]
    found = shifts.begun(conn, of) + shifts.find(conn, of, selection=selection_of(config.devices[device], now=now))
    by_file = {one.file.id: effect_of(one, to=str(mailboxes[one.target.id].mailbox.name)) for one in found}
    return _Shifts(by_file, frozenset(effect.successor_id for effect in by_file.values()))


def _pairs(conn: Connection, of: ReplicaRow, *, has_server: bool) -> Iterator[Pair]:
    """Yield each pair that either side has news of, once; where there is no server any more, none hears of a device."""
    seen: set[int] = set()
    while of.has_server_news:
        news = pairs.server_news(conn, of, limit=_PAIRS_PER_PAGE)
        yield from _unseen(with_successors(conn, of, news.pairs), seen)
        of = replace(of, server_cursor=news.upto)
    while has_server and of.has_replica_news:
        news = pairs.replica_news(conn, of, limit=_PAIRS_PER_PAGE)
        yield from _unseen(with_successors(conn, of, news.pairs), seen)
        of = replace(of, replica_cursor=news.upto)


def _unseen(found: tuple[Pair, ...], seen: set[int]) -> Iterator[Pair]:
    for pair in found:
        if pair.server is not None and pair.server.id not in seen:
            seen.add(pair.server.id)
            yield pair
