"""Floor 4: the rounds of one device: whose turn it is, until its replicas have what their servers have.

Theory. The accounts with news take turns, and so do the replicas of each, a round at a time, so that a large mailbox
keeps none of the others waiting. Before each, what the server moved between its mailboxes is moved here as well:
otherwise one replica would remove a file and another write it again. A replica that nobody has looked at gets its first
look, before which nothing else touches it, and one whose mailbox stands still is left out. What an account is just in
the middle of reading is put off. Of a device that may only read, what it changed is news as well: it is undone here,
and no account hears of it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from syncd.errors import SyncdError
from syncd.store.due.pending import is_anything_set_aside
from syncd.store.engine.changed_rows import Topic
from syncd.store.rounds import holds, leaving, pairs
from syncd.store.rounds.holds import HoldState
from syncd.store.trees import troubles
from syncd.store.trees.devices import ADOPTING, DeviceRow
from syncd.sync.device.first_looks import FirstLooks
from syncd.sync.device.known_mailboxes import Part, Served
from syncd.sync.device.leavings import Leavings
from syncd.sync.device.outgrown import Outgrown
from syncd.sync.device.parts import DeviceParts
from syncd.sync.device.served_device import ServedDevice
from syncd.sync.device.shifted_files import ShiftedFiles
from syncd.sync.policies import policy_of, selection_of
from syncd.sync.remembered import Remembered
from syncd.sync.wakes import Wake
from syncd.values import Record, field

if TYPE_CHECKING:
    from syncd.sync.rounds.replica_round import ReplicaResult


class _Pass(Record):
    """What a pass over the mailboxes has done, and has still to do beside what is new.

    due: the mailboxes where something is to be tried again. rounds: how many each had. in_doubt: those of which their
    account has to say more, with the versions that it had said so far. total: how much there was to plan at first.
    """

    due: set[int]
    rounds: Counter[int] = field(default_factory=Counter)
    in_doubt: dict[int, Mapping[int, int]] = field(default_factory=dict)
    effects: int = 0
    done: int = 0
    total: int = 0


_STALE_MAX = 5
"""How often the device may forestall us at one message before it is set aside."""
_FEW_VERSIONS = 16
"""What comes with as many changes of a mailbox is done before anybody could read how much of it is."""


def due_mailboxes(
    conn: Connection, *, device_id: int, now: float, states: Collection[HoldState] = (HoldState.RELEASED,)
) -> frozenset[int]:
    """Return the mailboxes of a device where something is to be tried again, left, or held with one of these states."""
    troubled = troubles.due_mailboxes(conn, device_id=device_id, now=now)
    held = holds.mailboxes_of(conn, device_id=device_id, states=states)
    return held.union(troubled, leaving.with_lost(conn, device_id))


class DeviceRounds:
    """Bring the replicas of one device up to date; its task says when."""

    def __init__(self, device: ServedDevice, parts: DeviceParts) -> None:
        """Tell the intake and the second look what a round saw the device do."""
        self._device = device
        self._db = db = device.db
        self._config = config = device.config
        self._wakes = device.wakes
        self._activity = device.activity
        self._clock = device.clock
        self._attachment = attachment = parts.attachment
        self._files = files = parts.files
        self._mailboxes = mailboxes = parts.mailboxes
        self._intake = parts.intake
        self._second_look = parts.second_look
        self._still = parts.still
        self._first_looks = FirstLooks(
            db, config, files, mailboxes, prover=attachment.prover, activity=device.activity, clock=device.clock
        )
        self._leavings = Leavings(db, config.path, mailboxes, prover=attachment.prover)
        self._outgrown = Outgrown(db, config, clock=device.clock)
        self._shifted_files = ShiftedFiles(config.path, files, marker=attachment.marker, prover=attachment.prover)
        self._shifted_upto: dict[str, Mapping[int, int]] = {}
        """By account, in which versions of the server trees shifts were looked for."""
        self._set_aside = Remembered(db, lambda conn, _: is_anything_set_aside(conn), reads=lambda _: {Topic.SET_ASIDE})
        """Whether anything may be due by its time, or by what a person decides."""
        self._stale: Counter[int] = Counter()
        self._are_holds_judged = False
        self.is_put_off = False
        """Whether the last rounds left out what accounts were in the middle of reading."""
        self._is_done = False

    def begin_anew(self) -> None:
        """Look for what servers moved in all replicas, also where that was begun: the root was not watched."""
        self._shifted_upto = {}
        self._is_done = False
        self._outgrown.begin_anew()

    @property
    def is_done(self) -> bool:
        """Tell whether the last rounds left nothing, and time has not made anything due since."""
        return self._is_done and not self._outgrown.is_any_due()

    async def clean(self, row: DeviceRow) -> None:
        """Remove what interruptions have left of mailboxes that the device does not take any more."""
        await self._leavings.clean(row.id)

    async def settle(self, *, until: Callable[[], bool]) -> int:
        """Run rounds until no replica has news of its server, or `until` says so; return the number of effects.

        The replicas take turns, a round each. One whose mailbox stands still is left out.
        """
        row, wake = await self._attachment.row(), self._device.wake
        await self.ensure_replicas(row.id)
        self._is_done = self.is_put_off = False
        if until():
            return 0
        await self.look_first(row)
        now = await self._begun_pass(row)
        await self._outgrown.look(row.id)
        while not until():
            turns, self.is_put_off = 0, self._device.wake.is_more_coming and self._files.is_follower
            if self.is_put_off:
                break
            for account in await self._busy_accounts(row.id, now):
                if not until():
                    turns += await self._take_turn(row, account, now, wake)
            if not turns:
                break
        if not (self.is_put_off or until()):
            await self._conclude(row, now)
        return now.effects

    async def _busy_accounts(self, device_id: int, now: _Pass) -> Sequence[str]:
        """Return the accounts that may have something to do, in the order in which their mailboxes are synced."""
        known = await self._mailboxes.known(device_id)
        wanted = {*known.of(Part.SERVER_NEWS), *now.due, *known.of_replicas(self._outgrown.due())}
        if self._config.read_only:
            wanted.update(known.of(Part.REPLICA_NEWS))
        served = await self._mailboxes.served_of(device_id, wanted)
        return tuple(dict.fromkeys(one.account for one in served if self._may_move(one)))

    def _may_move(self, one: Served) -> bool:
        return one.replica.listed_at is not None and one.mailbox.id not in self._still

    async def _take_turn(self, row: DeviceRow, account: str, now: _Pass, wake: Wake) -> bool:
        """Move what an account's server moved, else run one round of the account; tell whether there was anything."""
        moving = [one for one in await self._mailboxes.served(row.id, account) if self._may_move(one)]
        # NOTE: asked after the rows were read, which may have one half of a move, and before shifts are looked for: of
        # what is seen only after that, nobody looked for shifts.
        if not self._wakes.halves.are_seen(account, wake=wake):
            self.is_put_off = True
            return False
        staying = (one for one in moving if not one.replica.is_leaving)
        # NOTE: where files were found, no move is told from a message that has its file already.
        told = [one for one in staying if one.mailbox.id not in self._first_looks.found]
        upto = {one.replica.id: one.replica.mailbox_version for one in told}
        if shifted := await self._shift(row, account, told, upto):
            now.effects += shifted
            return True
        # NOTE: where it is about to be known what became of a message, nothing is planned before more is known.
        waiting = [one for one in moving if now.in_doubt.get(one.mailbox.id) != upto and self._is_pending(one, now.due)]
        if not waiting:
            return False
        served = min(waiting, key=lambda one: now.rounds[one.mailbox.id])
        now.rounds[served.mailbox.id] += 1
        now.due.discard(served.mailbox.id)
        with self._still.guard(served.mailbox.id, served.where):
            result = await self._round(row, served, now, upto)
            now.effects += result.effects
            if result.is_waiting:
                now.in_doubt[served.mailbox.id] = upto  # the account wakes us when it knows more
        return True

    async def _conclude(self, row: DeviceRow, now: _Pass) -> None:
        """End a pass that left nothing to do."""
        self._stale.clear()
        self._still.passed()
        self._are_holds_judged = True
        if self._mailboxes.is_giving_up:
            await self._leavings.end(row.id)
        is_any_gone = bool((await self._mailboxes.known(row.id)).of(Part.NOT_THERE))
        await self._mailboxes.remove_left(row.id, self._still)
        self._is_done = not (now.in_doubt or self._mailboxes.is_giving_up or is_any_gone)

    async def ensure_replicas(self, device_id: int) -> None:
        """Let the directories be those of the mailboxes, and wake the accounts of which some were renamed."""
        renamed = await self._mailboxes.ensure_replicas(device_id, self._still)
        self._device.wake_accounts(renamed)  # one that was found so counts as not looked at

    def _is_pending(self, served: Served, due: Container[int]) -> bool:
        of = served.replica
        if served.mailbox.id in self._still:
            return False
        if of.has_server_news or served.mailbox.id in due or self._outgrown.is_due(of.id):
            return True
        return self._config.read_only and of.has_replica_news

    async def look_first(self, row: DeviceRow) -> None:
        """Look at replicas that nobody has looked at, and find the messages of files that were there before us."""
        if self._mailboxes.is_giving_up:
            await self._leavings.begin(row.id)
        with self._device.telling() as accounts:
            await self._first_looks.run(row.id, self._still, accounts)
        if accounts:
            self._intake.expect()
            self._device.wake.set()
        if row.state == ADOPTING and await self._mailboxes.are_looked_at(row.id):
            await self._attachment.record_adopted()
            self._device.wake_accounts(self._mailboxes.accounts)

    async def _begun_pass(self, row: DeviceRow) -> _Pass:
        known, now = await self._mailboxes.known(row.id), self._clock()
        behind = [one.replica for one in known.served_of(known.of(Part.SERVER_NEWS))]
        is_much = sum(of.mailbox_version - of.server_cursor for of in behind) > _FEW_VERSIONS
        counted = [of.id for of in behind] if is_much else []
        if not (counted or known.of(Part.LEAVING) or await self._set_aside.get(0)):
            return _Pass(set())
        # NOTE: once after each start all holds are judged anew, by the rule that the configuration has now.
        states = {HoldState.RELEASED} if self._are_holds_judged else set(HoldState)
        due = partial(due_mailboxes, device_id=row.id, now=now, states=states)
        return await self._db.read(
            lambda conn: _Pass({*due(conn)}, total=pairs.count_server_news(conn, counted) if counted else 0)
        )

    async def _shift(self, row: DeviceRow, account: str, all_served: Sequence[Served], upto: Mapping[int, int]) -> int:
        """Move the files of messages that an account's server moved; look for such ones where its tree changed.

        upto: the versions of the server trees, by replica.
        """
        before = self._shifted_upto.get(account)
        if upto == before or not any(served.replica.has_server_news for served in all_served):
            return 0
        may_be_begun = before is None
        if not (may_be_begun or _may_be_shifted(all_served) or await self._set_aside.get(0)):
            self._shifted_upto[account] = upto
            return 0
        self._shifted_upto.pop(account, None)
        selection = selection_of(self._config, now=self._clock())
        from syncd.sync.device.shift_round import ShiftRound  # noqa: PLC0415

        shifts = ShiftRound(
            self._db, self._shifted_files, row, all_served, selection, rule=self._device.rule, now=self._clock()
        )
        effects = 0
        for batch in await shifts.plan(may_be_begun=may_be_begun):
            self._activity.now(f"moving files to {batch.target.where}", self._clock())
            with self._still.guard(batch.target.mailbox.id, batch.target.where):
                result = await shifts.perform(batch)
                effects += result.effects
                if result.was_touched:
                    self._intake.expect()
                    await self._second_look.note(row.id, all_served)
                if result.has_device_news:
                    self._wakes.account(batch.target.account).set()
        if not effects:
            self._shifted_upto[account] = upto
        return effects

    async def _round(
        self, row: DeviceRow, served: Served, now: _Pass, shifted_upto: Mapping[int, int]
    ) -> "ReplicaResult":
        from syncd.sync.rounds.replica_round import ReplicaRound  # noqa: PLC0415  # a sync that finds nothing has no round

        self._activity.now(f"delivering {served.where}", self._clock(), done=now.done, total=now.total)
        self._activity.pace.begin(self._clock())
        # NOTE: after its row was read: of a body that comes later, the round does not know yet.
        await self._first_looks.pair(served)
        policy = policy_of(
            served.replica,
            served.mailbox,
            self._mailboxes.selection_of(served),
            outgrown=self._outgrown.take(served.replica.id),
            is_read_only=self._config.read_only,
        )
        hopeless = frozenset(message_id for message_id, count in self._stale.items() if count >= _STALE_MAX)
        replica_round = ReplicaRound(
            self._db, self._files, row, served.replica, policy, self._device.rule, self._clock(), hopeless, shifted_upto
        )
        try:
            result = await replica_round.run()
        except SyncdError:
            self._wakes.account(served.account).set()  # the device may have changed files before that
            raise
        now.done += result.planned
        self._activity.pace.add(self._clock(), result.planned)
        self._stale.update(result.stale)
        self._outgrown.note(served.replica.id, tried=policy.outgrown, outside=result.outside)
        if result.has_device_news:
            self._intake.expect()
            await self._second_look.note(row.id, await self._mailboxes.looked_at(row.id))
            self._wakes.account(served.account).set()
        if result.is_removal_awaited:
            self._wakes.account(served.account).set()
        return result


def _may_be_shifted(served: Sequence[Served]) -> bool:
    """Tell whether a file may go from one mailbox to another: where none is held, both have news.

    What one that it goes from has may also be what the device did to a file that its server moved.
    """
    coming = sum(one.replica.has_server_news for one in served)
    going = sum(one.replica.has_server_news or one.replica.has_replica_news for one in served)
    return coming > 0 and going > 1
