"""Floor 4: what the next round of a mailbox's server is to do, planned from what its devices changed; only reads.

Theory. All that a round needs to know is read in one transaction, and is a value then: `server_round` does it, and
`planned` shows it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Connection

from syncd.mail.tree import Pair
from syncd.reconcile.deletions import is_personal
from syncd.reconcile.effects import Agree, Remove, Restore, Store
from syncd.reconcile.planner import Policy, is_in_doubt, merge, plan
from syncd.store.due import carried_changes
from syncd.store.due.backlog import refused_stores
from syncd.store.due.carried_changes import CarriedChange
from syncd.store.engine.queries import groups
from syncd.store.files import deletions
from syncd.store.files.successors import with_successors
from syncd.store.rounds import pairs
from syncd.store.trees import server_tree, troubles
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.server_tree import FlagDelta
from syncd.sync.rounds.departures import Wishes
from syncd.sync.rounds.guarding import decided
from syncd.values import Record, Value, field

PAIRS_PER_ROUND = 1000


class Troubled(Value):
    """Messages whose change the server refused; due: those to try again."""

    all: frozenset[int] = frozenset()
    due: tuple[int, ...] = ()


class ServerPlan(Record):
    """What a round is to do to one mailbox of a server: flags to store, by whose replicas, and wishes for deletions.

    carried: what of the flags is from devices that had the message in another mailbox. heard: of such, by id, what says
    nothing new; mistaken: what is for another message. lost: messages that went and of which a change is carried to
    nowhere. agreed: where both sides changed the same, by replica id.
    wanted_back: for each message that is to be put back, the files that want it by replica id. followed: what turned
    out to be moved. seen: the messages that were planned. modseq: the highest of those of which flags are to be stored.
    """

    troubled: Troubled = field(default_factory=Troubled)
    stores: dict[Store, list[int]] = field(default_factory=lambda: defaultdict(list))
    agreed: dict[int, list[FlagDelta]] = field(default_factory=lambda: defaultdict(list))
    carried: dict[Store, list[CarriedChange]] = field(default_factory=lambda: defaultdict(list))
    heard: set[int] = field(default_factory=set)
    mistaken: set[int] = field(default_factory=set)
    lost: frozenset[int] = frozenset()
    wishes: Wishes = field(default_factory=Wishes)
    wanted_back: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    followed: set[int] = field(default_factory=set)
    cursors: dict[int, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    modseq: int = 0

    @property
    def is_of_flags(self) -> bool:
        """Tell whether nothing is planned but flags to be stored that nobody has refused before."""
        of_others = (self.carried, self.heard, self.mistaken, self.lost)
        return not (any(of_others) or self.troubled.all or self.wishes or self.wanted_back or self.followed)

    @property
    def storing(self) -> frozenset[int]:
        """Return the messages of which flags are to be stored."""
        return frozenset(effect.message_id for effect in self.stores)

    @property
    def barred(self) -> frozenset[int]:
        """Return the messages that a flag which somebody set keeps from being deleted."""
        return frozenset(effect.message_id for effect in self.stores if is_personal(effect.add | effect.remove))


def plan_changes(
    conn: Connection, *, mailbox: MailboxRow, replicas: Sequence[tuple[ReplicaRow, Policy]], now: float
) -> ServerPlan:
    """Return what the next round of a mailbox is to do, of a thousand changes of each device and all its deletions."""
    planned = ServerPlan(_troubled(conn, mailbox_id=mailbox.id, now=now))
    planned.seen.update(planned.troubled.due)
    for of, policy in replicas:
        news = pairs.replica_news(conn, of, limit=PAIRS_PER_ROUND)
        planned.cursors[of.id] = news.upto
        for pair in _with_older(conn, of, news.pairs, again=planned.troubled.due):
            planned.seen |= {pair.server.id} if pair.server is not None else set()
            if is_in_doubt(pair, policy):
                planned.followed |= _moved_after_all(of, pair)
            for effect in plan(pair, policy):
                if isinstance(effect, Store):
                    planned.stores[effect].append(of.id)
                elif isinstance(effect, Agree):
                    planned.agreed[of.id].append(delta_of(effect))
                elif isinstance(effect, Restore):
                    planned.wanted_back[effect.message_id][of.id] = effect.file_id
                elif isinstance(effect, Remove):
                    planned.followed |= _moved_after_all(of, pair)
                else:
                    planned.wishes.take(of, pair, effect)
    _take_carried(conn, mailbox, planned, now=now)
    planned.lost = carried_changes.lost(conn, mailbox_id=mailbox.id)
    for of, _ in replicas if planned.wanted_back else ():
        for message_id in decided(conn, of).intersection(planned.wanted_back):
            planned.wanted_back[message_id].pop(of.id, None)
    planned.wanted_back = {message_id: files for message_id, files in planned.wanted_back.items() if files}
    if planned.stores and mailbox.cursor.highestmodseq is not None:
        uids, uidvalidity = [effect.uid for effect in planned.stores], mailbox.cursor.uidvalidity
        known = server_tree.highest_modseq(conn, mailbox_id=mailbox.id, uidvalidity=uidvalidity, uids=uids)
        planned.modseq = known
    return planned


def delta_of(effect: Store | Agree) -> FlagDelta:
    """Return the flags that an effect gives and takes."""
    return FlagDelta(effect.message_id, effect.add, effect.remove)


def _troubled(conn: Connection, *, mailbox_id: int, now: float) -> Troubled:
    refused = refused_stores(conn, mailbox_id=mailbox_id)
    due = troubles.due(conn, mailbox_id=mailbox_id, device_id=None, now=now)
    return Troubled(refused, tuple(refused.intersection(due)))


def _take_carried(conn: Connection, mailbox: MailboxRow, planned: ServerPlan, *, now: float) -> None:
    """Plan a thousand changes by devices of messages that they had elsewhere; what was refused waits for its time."""
    for one in carried_changes.carried_changes(conn, mailbox_id=mailbox.id, limit=PAIRS_PER_ROUND, now=now):
        planned.seen.add(one.message_id)
        # NOTE: as if both had last agreed on what was taken back, and the device had what was set.
        merged = merge(one.flags, *map(mailbox.holdable.part_of, (one.remove, one.add)))
        effect = Store(one.message_id, one.uid, merged.server_add, merged.server_remove)
        if not one.is_same:
            planned.mistaken.add(one.id)
        elif effect.add or effect.remove:
            planned.stores.setdefault(effect, [])
            planned.carried[effect].append(one)
        else:
            planned.heard.add(one.id)


def _moved_after_all(of: ReplicaRow, pair: Pair) -> set[int]:
    """Return a message that was moved, or may have been, when its device waits already for its being put back."""
    server = pair.server
    is_past = server is not None and server.version <= of.server_cursor and pair.successor is not None
    return {server.id} if server is not None and is_past else set()


def _with_older(conn: Connection, of: ReplicaRow, news: Sequence[Pair], *, again: Iterable[int]) -> Iterator[Pair]:
    """Yield what is new, what is tried again and all that the device deleted, which may be much, a group at a time."""
    yield from with_successors(conn, of, tuple(news))
    older = {*again, *deletions.deleted_messages(conn, of)}
    older -= {pair.server.id for pair in news if pair.server is not None}
    for group in groups(sorted(older), PAIRS_PER_ROUND):
        yield from with_successors(conn, of, pairs.pairs_of(conn, of, group))
