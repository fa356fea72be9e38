"""Floor 4: what the next round of a replica plans, read from the store."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from syncd.mail.tree import Pair, Successor
from syncd.reconcile.effects import Effect, Remove, Restore
from syncd.reconcile.planner import Policy
from syncd.store.files import deletions
from syncd.store.files.successors import with_successors
from syncd.store.rounds import pairs
from syncd.store.trees import troubles
from syncd.store.trees.devices import DeviceRow, ReplicaRow, replicas
from syncd.sync.rounds.guarding import Waiting, waiting
from syncd.values import Value, replace

_PAIRS_PER_ROUND = 1000


class RoundNews(Value):
    """What the next round of a replica plans, what waits at the guard, and what is tried again.

    replica_upto: up to where its own changes are among the pairs; None: they are for its server to hear of.
    """

    server: pairs.News
    waits: Waiting
    again: tuple[int, ...]
    replica_upto: int | None


def news_of(
    conn: Connection,
    *,
    device: DeviceRow,
    of: ReplicaRow,
    policy: Policy,
    now: float,
    shifted_upto: Mapping[int, int] | None = None,
) -> RoundNews:
    """Read what the next round of a replica plans.

    shifted_upto: by replica, the versions of the server trees in which shifts were looked for.
    """
    news = pairs.server_news(conn, of, limit=_PAIRS_PER_ROUND)
    waits = waiting(conn, device, of)
    again = troubles.due(conn, mailbox_id=of.mailbox_id, device_id=device.id, now=now)
    also = {*again, *waits.held, *waits.released, *policy.outgrown}
    if policy.selection.takes_none:
        also.update(deletions.lost_messages(conn, of))
    older, upto = pairs.pairs_of(conn, of, also), None
    if policy.is_read_only:
        changed = pairs.replica_news(conn, of, limit=_PAIRS_PER_ROUND)
        older, upto = (*older, *changed.pairs), changed.upto
    found = with_successors(conn, of, (*news.pairs, *older))
    if shifted_upto is not None:
        found = _without_unlooked(conn, device, found, shifted_upto)
    return RoundNews(replace(news, pairs=found), waits, again, upto)


def as_decided(effects: Iterable[Effect], by_person: frozenset[int]) -> list[Effect]:
    """Return effects without putting back what a person decides about: that is removed, or held."""
    return [
        Remove(one.message_id, one.file_id) if isinstance(one, Restore) and one.message_id in by_person else one
        for one in effects
    ]


def _without_unlooked(
    conn: Connection, device: DeviceRow, found: tuple[Pair, ...], shifted_upto: Mapping[int, int]
) -> tuple[Pair, ...]:
    """Return pairs with what came elsewhere since shifts were looked for as on its way: its file may be shifted.

    Else it would be removed, and with it what the device changed and nobody has heard of.
    """
    moved = {pair for pair in found if _is_moved(pair)}
    if not moved:
        return found
    versions = {row.id: row.mailbox_version for row in replicas(conn, device_id=device.id) if row.id in shifted_upto}
    if versions == shifted_upto:
        return found
    return tuple(pair._replace(successor=Successor.ON_ITS_WAY) if pair in moved else pair for pair in found)


def _is_moved(pair: Pair) -> bool:
    return pair.server is not None and pair.server.is_gone and pair.successor is Successor.THERE
