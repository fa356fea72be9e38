"""Floor 4: the second half of a server's round: what devices deleted leaves its mailbox there, guarded, and is settled.

Theory. All that devices deleted of a mailbox and that is not settled is read again in each of its rounds, so that what
was held, refused or interrupted needs no memory of its own. A deletion yields to a flag that somebody set in the same
round; then it is planned no more, and the device gets its file back. Nothing is announced: a message that left its
mailbox and was not settled is observed as gone, and then both sides deleted it.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from sqlalchemy import Connection

from syncd.errors import RefusedError, SyncdError
from syncd.log import log
from syncd.mail.flags import DELETED
from syncd.mail.tree import Pair, ReplicaState
from syncd.mail.uidset import UidSet
from syncd.reconcile.effects import Deliver, Departure, Effect, Expunge, Forget, Move, as_text
from syncd.reconcile.guard import Rule
from syncd.store.engine.database import Database
from syncd.store.files import deletions
from syncd.store.rounds import holds
from syncd.store.rounds.holds import HoldScope
from syncd.store.trees import devices, history, server_tree, troubles
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.history import Outcome
from syncd.sync.rounds.deletion_guard import (
    Judgement,
    count_account_deletions,
    count_deletions,
    hold_deletions,
    judge_deletions,
    judge_of_account,
)
from syncd.sync.rounds.sides import Departed, ServerSide
from syncd.values import Record, Value, field, replace

_OVERTAKEN = "somebody changes the message each time it is to be deleted"


class Wishes(Record):
    """Gather, while a round is planned, what its devices want to leave the mailbox."""

    by_replica: defaultdict[ReplicaRow, dict[int, Departure]] = field(default_factory=lambda: defaultdict(dict))
    returning: set[int] = field(default_factory=set)
    """Messages whose deletion lost, or that the server deleted, too: their devices must be told to plan them again."""
    losing: set[int] = field(default_factory=set)
    """Devices some of whose deletions lost: if they removed the whole mailbox, they have it again."""
    patient: set[int] = field(default_factory=set)
    """Messages of which an earlier try has marked them as deleted: all of them are asked for together."""

    def take(self, of: ReplicaRow, pair: Pair, effect: Effect) -> None:
        """Remember an effect if it is a departure, or what becomes of one."""
        server, file = pair.server, pair.replica
        if server is None or file is None or file.state is not ReplicaState.DELETED:
            return
        if isinstance(effect, Move | Expunge):
            self.by_replica[of][server.id] = effect
            if DELETED in server.flags:
                self.patient.add(server.id)
        elif isinstance(effect, Deliver | Forget):
            if server.version <= of.server_cursor:
                self.returning.add(server.id)
            if isinstance(effect, Deliver):
                self.losing.add(of.device_id)

    def __bool__(self) -> bool:
        """Tell whether anything is to leave, or turned out not to."""
        return bool(self.by_replica or self.returning or self.losing)

    @property
    def message_ids(self) -> frozenset[int]:
        return frozenset(message_id for wanted in self.by_replica.values() for message_id in wanted)


class Judged(Value):
    """Hold what the guard says of the departures from one mailbox, by replica and for all of them together."""

    judged: Mapping[ReplicaRow, Sequence[Departure]]
    by_device: Mapping[ReplicaRow, Judgement]
    together: Judgement
    allowed: "Admitted"


Admitted = Mapping[ReplicaRow, frozenset[int]]
"""Which messages the guard lets go, by the replica that wants it."""


def judge_departures(
    conn: Connection,
    mailbox: MailboxRow,
    replicas: Sequence[ReplicaRow],
    wishes: Wishes,
    *,
    barred: Collection[int],
    rule: Rule,
    now: float,
) -> Judged:
    """Ask the guard for each device, and then for all of them together; what is replaced is no deletion."""
    # NOTE: files may be back since the wishes were read, and the guard would count none of them.
    still = {of: {*deletions.deleted_messages(conn, of)}.difference(barred) for of in replicas}
    wanted = {of: [one for id_, one in wishes.by_replica.get(of, {}).items() if id_ in still[of]] for of in replicas}
    judged = {of: [one for one in mine if not _is_replaced(one)] for of, mine in wanted.items()}
    by_device = {of: judge_deletions(conn, mailbox, of, mine, rule=rule, now=now) for of, mine in judged.items()}
    everything = [one for mine in judged.values() for one in mine]
    together = judge_of_account(conn, mailbox, everything, by_device.values(), rule=rule, now=now)
    allowed = {
        of: (one.allowed & together.allowed).union(each.message_id for each in wanted[of] if _is_replaced(each))
        for of, one in by_device.items()
    }
    return Judged(judged, by_device, together, allowed)


def _are_any_held(conn: Connection, mailbox: MailboxRow) -> bool:
    """Tell whether deletions of a mailbox wait at the guard, so that a round has to judge them anew."""
    scopes = (HoldScope.BY_DEVICE, HoldScope.OF_ACCOUNT)
    return any(holds.holds(conn, mailbox_id=mailbox.id, scope=scope) for scope in scopes)


class DepartureRound(Value):
    """Let messages leave one mailbox of the server.

    `admit` it in the transaction that settles the flags, then `run` it.
    barred: messages that somebody else's change keeps for now. sleeping: those that the server refused lately. cursors:
    of the replicas, up to where they are settled thereby, but for those that are to be planned again.
    """

    db: Database
    side: ServerSide
    mailbox: MailboxRow
    replicas: Sequence[ReplicaRow]
    wishes: Wishes
    barred: Collection[int]
    sleeping: Collection[int]
    cursors: Mapping[int, int]
    rule: Rule
    now: float
    sets_overtaken_aside: bool

    def admit(self, conn: Connection) -> "Admitted | None":
        """Ask the guard, and write what it holds; None where nothing is to leave, and nothing waits at the guard."""
        if not (self.wishes.by_replica or _are_any_held(conn, self.mailbox)):
            return None
        found = judge_departures(
            conn, self.mailbox, self.replicas, self.wishes, barred=self.barred, rule=self.rule, now=self.now
        )
        for of, one in found.by_device.items():
            where = (HoldScope.BY_DEVICE, of.device_id)
            hold_deletions(conn, self.mailbox, where, found.judged[of], one, now=self.now)
        everything = [one for mine in found.judged.values() for one in mine]
        where = (HoldScope.OF_ACCOUNT, self.mailbox.account_id)
        hold_deletions(conn, self.mailbox, where, everything, found.together, now=self.now)
        return found.allowed

    async def run(self, allowed: "Admitted | None") -> "Departures":
        """Perform and settle what was admitted; what could not be settled holds the cursors of those who want it."""
        if allowed is None:
            return Departures(effects=len(self.wishes.returning), is_stale=False, moved=())
        effects = self._effects(frozenset().union(*allowed.values()))
        departed = await self.side.depart(self.mailbox, effects) if effects else Departed()
        overtaken = {one.message_id for one in effects} - departed.gone - departed.refused.keys()
        refused: dict[int, SyncdError] = dict(departed.refused)
        if self.sets_overtaken_aside:
            refused |= dict.fromkeys(overtaken, RefusedError(_OVERTAKEN))
        await self.db.write(partial(self._settle, allowed=allowed, departed=replace(departed, refused=refused)))
        for effect in effects:
            if effect.message_id in departed.gone:
                log.info("message_departed", mailbox_id=self.mailbox.id, uid=effect.uid, effect=as_text(effect))
        return Departures(
            effects=len(departed.gone) + len(self.wishes.returning),
            is_stale=bool(overtaken),
            moved=tuple(one for one in effects if isinstance(one, Move) and one.message_id in departed.gone),
        )

    def _effects(self, allowed: Collection[int]) -> tuple[Departure, ...]:
        """Return one effect for each message, however many devices want it."""
        wanted = {id_: one for mine in self.wishes.by_replica.values() for id_, one in mine.items() if id_ in allowed}
        awake = [one for id_, one in wanted.items() if id_ not in self.sleeping or id_ in self.wishes.patient]
        return tuple(sorted(awake, key=lambda one: one.uid))

    def _settle(self, conn: Connection, *, allowed: Admitted, departed: Departed) -> None:
        gone, refused = departed.gone, departed.refused
        if departed.record is not None:
            departed.record(conn)
        uids = {id_: one.uid for mine in self.wishes.by_replica.values() for id_, one in mine.items()}
        if gone:
            vanished = UidSet.of(uids[message_id] for message_id in gone)
            uidvalidity = self.mailbox.cursor.uidvalidity
            everybody = self.wishes.by_replica.values()
            deleted = gone - {id_ for mine in everybody for id_, one in mine.items() if _is_replaced(one)}
            count_account_deletions(conn, self.mailbox, deleted, rule=self.rule, now=self.now)
            server_tree.record_vanished(conn, self.mailbox.id, uidvalidity, vanished, now=self.now)
            for of, mine in allowed.items():
                wanted = self.wishes.by_replica.get(of, {})
                counted = frozenset(id_ for id_ in mine & gone if not _is_replaced(wanted[id_]))
                if counted:
                    count_deletions(conn, of, counted, rule=self.rule, now=self.now)
            self._tell(conn, dict.fromkeys(gone, ""))
            deletions.settle(conn, self.mailbox.id, gone)
            holds.take_out(conn, mailbox_id=self.mailbox.id, message_ids=gone)
        fresh = troubles.set_aside_on_server(conn, refused, mailbox_id=self.mailbox.id, now=self.now)
        self._tell(conn, fresh, Outcome.REFUSED)
        unsettled = frozenset().union(*allowed.values()) - gone - refused.keys() - set(self.sleeping)
        for of in self.replicas:
            if of.id in self.cursors and not allowed.get(of, frozenset()) & unsettled:
                devices.move_replica_cursor(conn, of.id, self.cursors[of.id])

    def _tell(self, conn: Connection, reasons: Mapping[int, str], outcome: Outcome = Outcome.DONE) -> None:
        """Tell the history what became of the wishes for these messages, with why, and whose they were."""
        wanted: dict[int, tuple[history.Happening, list[int]]] = {}
        for of, mine in self.wishes.by_replica.items():
            for message_id, effect in mine.items():
                if message_id in reasons:
                    told = history.of(effect, reason=reasons[message_id])
                    wanted.setdefault(message_id, (told, []))[1].append(of.device_id)
        history.tell_of_devices(conn, wanted.values(), now=self.now, mailbox_id=self.mailbox.id, outcome=outcome)


def _is_replaced(effect: Departure) -> bool:
    """Tell whether what leaves is elsewhere or in a newer version, so that nothing is lost to a person."""
    return isinstance(effect, Expunge) and effect.is_replaced


class Departures(Value):
    """Tell what left, and what of it is in another mailbox now."""

    effects: int
    is_stale: bool
    moved: tuple[Move, ...]
