"""Floor 4: one round of a mailbox's server: what its devices changed is planned, stored there, and settled.

The theory is that of `round`; here the side that performs is a server, and nothing has to be announced: a flag that was
stored and not settled is observed again, and then both sides agree.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import structlog
from sqlalchemy import Connection

from syncd.reconcile.effects import Agree, Store, as_text
from syncd.reconcile.planner import Policy, plan
from syncd.store import devices, pairs, troubles
from syncd.store.accounts import MailboxRow
from syncd.store.database import Database
from syncd.store.devices import ReplicaRow
from syncd.store.server_tree import FlagDelta, apply_flag_deltas
from syncd.sync.sides import RoundResult, ServerSide, StoreOutcome

log = structlog.get_logger()

_PAIRS_PER_ROUND = 1000


async def server_round(
    db: Database,
    side: ServerSide,
    mailbox: MailboxRow,
    replicas: Iterable[tuple[ReplicaRow, Policy]],
    *,
    now: float,
) -> RoundResult:
    """Bring to one mailbox of the server what its devices changed; several devices' equal changes are one."""
    stores: dict[Store, list[int]] = defaultdict(list)
    agreed: dict[int, list[FlagDelta]] = defaultdict(list)
    cursors: dict[int, int] = {}
    for of, policy in replicas:
        news = await db.read(partial(_server_news, of=of, now=now))
        cursors[of.id] = news.upto
        for pair in dict.fromkeys(news.pairs):
            for effect in plan(pair, policy):
                if isinstance(effect, Store):
                    stores[effect].append(of.id)
                elif isinstance(effect, Agree):
                    agreed[of.id].append(FlagDelta(effect.message_id, effect.add, effect.remove))
    outcome = await side.store(mailbox, _joined(stores)) if stores else StoreOutcome(frozenset(), {})
    overtaken = {
        replica_id
        for effect, replica_ids in stores.items()
        if effect.message_id not in outcome.done and effect.message_id not in outcome.refused
        for replica_id in replica_ids
    }

    def settle(conn: Connection) -> None:
        done = {effect: ids for effect, ids in stores.items() if effect.message_id in outcome.done}
        deltas = {effect: FlagDelta(effect.message_id, effect.add, effect.remove) for effect in done}
        for delta in deltas.values():
            apply_flag_deltas(conn, mailbox.id, [delta])
        for effect, replica_ids in done.items():
            for replica_id in replica_ids:
                agreed[replica_id].append(deltas[effect])
        for replica_id, moved in agreed.items():
            pairs.agree(conn, replica_id, moved)
        for message_id, error in outcome.refused.items():
            troubles.set_aside(
                conn,
                mailbox_id=mailbox.id,
                message_id=message_id,
                device_id=None,
                error=str(error),
                temper=error.temper,
                now=now,
            )
        troubles.resolve(conn, outcome.done, device_id=None)
        for replica_id, upto in cursors.items():
            if replica_id not in overtaken:
                devices.move_replica_cursor(conn, replica_id, upto)

    await db.write(settle)
    for effect in stores:
        log.debug("effect_settled", mailbox_id=mailbox.id, effect=as_text(effect))
    return RoundResult(len(stores), bool(overtaken))


def _joined(effects: Iterable[Store]) -> tuple[Store, ...]:
    """Return one effect for each message: to the server, the second of two would come after a stranger's change."""
    joined: dict[int, Store] = {}
    for effect in effects:
        known = joined.get(effect.message_id, effect)
        joined[effect.message_id] = replace(known, add=known.add | effect.add, remove=known.remove | effect.remove)
    return tuple(joined.values())


def _server_news(conn: Connection, *, of: ReplicaRow, now: float) -> pairs.News:
    news = pairs.replica_news(conn, of, limit=_PAIRS_PER_ROUND)
    again = troubles.due(conn, mailbox_id=of.mailbox_id, device_id=None, now=now)
    return replace(news, pairs=(*news.pairs, *pairs.pairs_of(conn, of, again))) if again else news
