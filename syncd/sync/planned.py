"""Floor 4: the plan as a value, for `syncd plan`: what rounds would do now, read from the store and not done.

Theory. Nothing is planned here. Of each mailbox the rounds of its server and of its replicas say what they are about to
do (`server_plan.plan_changes`, `round_news.news_of`, `shift_round.plan_shifts`, `arrivals.planned`), page by page with
the cursors that they would have by then, and the guard what it would hold. What nobody has observed yet is not in it;
what has to come first is told beside it (`waits`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from sqlalchemy import Connection

from syncd.config.model import Config, DeviceConfig
from syncd.mail.tree import Pair
from syncd.reconcile.effects import Append, Copy, Deliver, Effect, Expunge, Move, Remove, Restore, Shift, Store
from syncd.reconcile.guard import Reason, Rule
from syncd.reconcile.planner import Policy, plan
from syncd.store.due.backlog import mailboxes_with_due_stores
from syncd.store.files import uploads
from syncd.store.people.report import account_ids
from syncd.store.rounds import leaving
from syncd.store.trees import accounts, devices
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.devices import DeviceRow, ReplicaRow, device_names
from syncd.sync.device.known_mailboxes import Served
from syncd.sync.device.rounds import due_mailboxes
from syncd.sync.device.shift_round import effect_of, plan_shifts
from syncd.sync.policies import Takers, deletion_of, policy_of, selection_of, selection_text
from syncd.sync.rounds.arrivals import arrival_of
from syncd.sync.rounds.arrivals import planned as plan_arrivals
from syncd.sync.rounds.departures import judge_departures
from syncd.sync.rounds.guarding import judge_removals
from syncd.sync.rounds.round_news import news_of
from syncd.sync.rounds.server_plan import ServerPlan, plan_changes
from syncd.sync.served import ServedReplica, due_changes, served_replicas
from syncd.sync.waits import Wait, waits
from syncd.values import Value, replace

PERSON = "person"
"""Asks for what no device does: a deleted message that is wanted back."""
_OF_SERVERS = (Store, Move, Expunge, Append, Copy)


class PlannedEffect(Value):
    """An effect with the device that asks for it or gets it, or `PERSON`. held: why the guard would make it wait."""

    account: str
    mailbox: str
    device: str
    effect: Effect
    uid: int | None = None
    held: Reason | None = None


class Plan(Value):
    """Hold the first effects of a plan, whether these are all, and what has to happen before there can be more."""

    effects: tuple[PlannedEffect, ...]
    is_whole: bool
    waits: tuple[Wait, ...] = ()


def planned(conn: Connection, config: Config, *, now: float, limit: int) -> Plan:
    """Return what is left to do as far as the store knows."""
    found = tuple(islice(_once(_effects(conn, config, now=now)), limit + 1))
    return Plan(found[:limit], len(found) <= limit, tuple(waits(conn, config, now=now)))


class _Shifts(Value):
    """The shifts of one device, by the row id of the file, and the messages that need no delivery because of them."""

    by_file: Mapping[int, Shift]
    successors: frozenset[int]

    def instead_of(self, effect: Effect) -> Effect | None:
        """Return the effect that comes of one that a replica is planned by itself; None: it is done by another."""
        if isinstance(effect, Deliver) and effect.message_id in self.successors:
            return None
        return self.by_file.get(effect.file_id, effect) if isinstance(effect, Remove) else effect


def _effects(conn: Connection, config: Config, *, now: float) -> Iterator[PlannedEffect]:
    looked_at = [one for one in served_replicas(conn, config) if one.replica and one.replica.listed_at is not None]
    rows = {name: devices.device_of(conn, id_) for id_, name in device_names(conn).items()}
    names, rule = {row.id: name for name, row in rows.items()}, Takers(config).rule
    for account in config.accounts:
        for change, effect in due_changes(conn, config, account, now=now):
            yield PlannedEffect(account, str(change.name), names[change.device_id], effect)
    yield from _arrivals(conn, config, now=now)
    heard = [one for one in looked_at if one.mailbox.is_there and not config.devices[one.device].read_only]
    yield from _of_servers(conn, config, heard, rule=rule, now=now)
    by_device: defaultdict[str, list[ServedReplica]] = defaultdict(list)
    for one in looked_at:
        by_device[one.device].append(one)
    for device, mine in by_device.items():
        shifts = _shifts(conn, config, rows[device], mine, rule=rule, now=now)
        due = due_mailboxes(conn, device_id=rows[device].id, now=now)
        for served in mine:
            of, policy = _as_selected(conn, served, config.devices[device], now=now)
            is_due = served.mailbox.id in due or (policy.is_read_only and of.has_replica_news)
            if of.has_server_news or is_due or policy.outgrown:
                where = replace(served, replica=of)
                yield from _of_replica(conn, where, rows[device], policy, shifts, rule=rule, now=now)


def _as_selected(
    conn: Connection, served: ServedReplica, device: DeviceConfig, *, now: float
) -> tuple[ReplicaRow, Policy]:
    """Return a replica and its policy as they are once the device knows what the configuration selects by now."""
    of, outgrown = served.replica, frozenset[int]()
    assert of is not None  # noqa: S101 - of those that nobody made yet nothing is planned
    selection = served.selection(device, now=now)
    if not served.is_followed or (served.is_selected and of.selection != selection_text(device)):
        outgrown = leaving.outside(conn, of.device_id, selection).get(of.id, outgrown)
        of = replace(of, server_cursor=0)
    is_read_only = device.read_only
    return of, policy_of(of, served.mailbox, selection, outgrown=outgrown, is_read_only=is_read_only)


def _once(found: Iterable[PlannedEffect]) -> Iterator[PlannedEffect]:
    """Yield each effect once: what is to be put back a device asks for, and its server does."""
    restored: set[tuple[str, int]] = set()
    for one in found:
        if isinstance(one.effect, Restore):
            if (one.device, one.effect.message_id) in restored:
                continue
            restored.add((one.device, one.effect.message_id))
        yield one


def _of_replica(
    conn: Connection,
    served: ServedReplica,
    device: DeviceRow,
    policy: Policy,
    shifts: _Shifts,
    *,
    rule: Rule,
    now: float,
) -> Iterator[PlannedEffect]:
    """Yield what the rounds of one replica would do to its files, and agree on."""
    of, seen = served.replica, set[int]()
    while of is not None:
        read = news_of(conn, device=device, of=of, policy=policy, now=now)
        waiting = read.waits
        found = [
            (pair, effect)
            for pair in _unseen(read.server.pairs, seen)
            for effect in plan(pair, policy)
            if not isinstance(effect, _OF_SERVERS)
        ]
        wanted = [(pair, named) for pair, effect in found if (named := shifts.instead_of(effect)) is not None]
        removes = [effect for _, effect in wanted if isinstance(effect, Remove)]
        judged = judge_removals(conn, device, of, removes, before=waiting, rule=rule, now=now) if removes else None
        for pair, effect in wanted:
            one = PlannedEffect(served.account, str(served.mailbox.name), served.device, effect, _uid(pair))
            if judged is None or not isinstance(effect, Remove) or judged.allows(effect):
                yield one
            elif effect.message_id not in waiting.held:
                yield replace(one, held=judged.reason)
        upto = of.replica_cursor if read.replica_upto is None else read.replica_upto
        more = replace(of, server_cursor=read.server.upto, replica_cursor=upto)
        of = more if more.has_server_news or (policy.is_read_only and more.has_replica_news) else None


def _of_servers(
    conn: Connection, config: Config, looked_at: Iterable[ServedReplica], *, rule: Rule, now: float
) -> Iterator[PlannedEffect]:
    """Yield what the rounds of servers would do, one for each device that asks for it."""
    by_mailbox: defaultdict[int, list[ServedReplica]] = defaultdict(list)
    for one in looked_at:
        by_mailbox[one.mailbox.id].append(one)
    all_due: dict[int, frozenset[int]] = {}
    for mailbox_id, mine in by_mailbox.items():
        mailbox, account = mine[0].mailbox, mine[0].account
        account_id = mailbox.account_id
        if account_id not in all_due:
            all_due[account_id] = mailboxes_with_due_stores(conn, account_id=account_id, now=now)
        has_news = any(one.replica is not None and one.replica.has_replica_news for one in mine)
        if mailbox.is_readable and (has_news or mailbox_id in all_due[account_id]):
            deletion = deletion_of(config.accounts[account], mailbox, accounts.mailboxes(conn, account_id=account_id))
            replicas = [
                (
                    one.replica,
                    policy_of(
                        one.replica,
                        mailbox,
                        one.selection(config.devices[one.device], now=now),
                        deletion=deletion if one.is_selected else None,
                    ),
                )
                for one in mine
                if one.replica is not None
            ]
            names = {one.replica.id: one.device for one in mine if one.replica is not None}
            for device, effect, uid, held in _of_server(conn, mailbox, replicas, names, rule=rule, now=now):
                yield PlannedEffect(account, str(mailbox.name), device, effect, uid, held)


_Wanted = tuple[str, Effect, int | None, Reason | None]


def _of_server(
    conn: Connection,
    mailbox: MailboxRow,
    replicas: Sequence[tuple[ReplicaRow, Policy]],
    names: Mapping[int, str],
    *,
    rule: Rule,
    now: float,
) -> Iterator[_Wanted]:
    seen: set[tuple[str, Effect]] = set()
    of_all = device_names(conn)
    barred = frozenset[int]()
    while True:
        found = plan_changes(conn, mailbox=mailbox, replicas=replicas, now=now)
        for effect, replica_ids in found.stores.items():
            carried = (of_all[one.device_id] for one in found.carried.get(effect, ()))
            for device in (*(names[replica_id] for replica_id in replica_ids), *carried):
                if (device, effect) not in seen:
                    seen.add((device, effect))
                    yield device, effect, effect.uid, None
        for message_id, wanted_by in found.wanted_back.items():
            for replica_id, file_id in wanted_by.items():
                yield names[replica_id], Restore(message_id, file_id), None, None
        barred |= found.barred
        asked = [of for of, _ in replicas]
        replicas = [(replace(of, replica_cursor=found.cursors[of.id]), policy) for of, policy in replicas]
        if not any(of.has_replica_news for of, _ in replicas):
            break
    yield from _departures(conn, mailbox, asked, found, names, barred=barred, rule=rule, now=now)


def _departures(
    conn: Connection,
    mailbox: MailboxRow,
    replicas: Sequence[ReplicaRow],
    found: ServerPlan,
    names: Mapping[int, str],
    *,
    barred: frozenset[int],
    rule: Rule,
    now: float,
) -> Iterator[_Wanted]:
    """Yield what devices deleted and the guard lets pass, and what it would hold from now on."""
    if not found.wishes.by_replica:
        return
    judged = judge_departures(conn, mailbox, replicas, found.wishes, barred=barred, rule=rule, now=now)
    sleeping = found.troubled.all.difference(found.troubled.due, found.wishes.patient)
    for of in replicas:
        alone, together = judged.by_device[of], judged.together
        for message_id, effect in found.wishes.by_replica.get(of, {}).items():
            if message_id in barred or message_id in sleeping:
                continue
            reason = alone.reason if message_id in alone.held else together.reason
            if message_id in judged.allowed[of]:
                yield names[of.id], effect, effect.uid, None
            elif reason is not None:
                yield names[of.id], effect, effect.uid, reason


def _arrivals(conn: Connection, config: Config, *, now: float) -> Iterator[PlannedEffect]:
    """Yield what becomes of files that devices added and that are in the store."""
    ids, names, takers = account_ids(conn), device_names(conn), Takers(config)
    for account in config.accounts:
        if account not in ids or not uploads.are_any(conn, account_id=ids[account]):
            continue
        places = {row.id: str(row.name) for row in accounts.mailboxes(conn, account_id=ids[account])}
        of = takers.bringable(conn, account=account, account_id=ids[account]).of
        for page in uploads.due_pages(conn, account_id=ids[account], of=of, now=now):
            for one in plan_arrivals(conn, page, account_id=ids[account]):
                source, target_id = one.origin.source, one.upload.mailbox_id
                where = target_id if source is None else source.mailbox_id
                effect = arrival_of(one, places[target_id])
                uid = None if source is None else source.uid
                device = names.get(one.upload.device_id or 0, PERSON)
                yield PlannedEffect(account, places[where], device, effect, uid)


def _shifts(
    conn: Connection, config: Config, device: DeviceRow, mine: Sequence[ServedReplica], *, rule: Rule, now: float
) -> _Shifts:
    served = [
        Served(one.replica, one.mailbox, one.account) for one in mine if one.replica is not None and one.is_selected
    ]
    selection = selection_of(config.devices[device.name], now=now)
    batches = plan_shifts(
        conn, device=device, served=served, selection=selection, rule=rule, now=now, may_be_begun=True
    )
    by_file = {
        one.file.id: effect_of(one, to=str(batch.target.mailbox.name)) for batch in batches for one in batch.files
    }
    return _Shifts(by_file, frozenset(effect.successor_id for effect in by_file.values()))


def _unseen(found: Iterable[Pair], seen: set[int]) -> Iterator[Pair]:
    for pair in found:
        if pair.server is not None and pair.server.id not in seen:
            seen.add(pair.server.id)
            yield pair


def _uid(pair: Pair) -> int | None:
    return None if pair.server is None else pair.server.uid
