"""Floor 4: the task of one device: watch its root, and keep its replicas at their mailboxes.

Theory. Once attached, replicas that nobody has looked at get their first look, before which nothing else touches them;
the whole of each of the others is compared with its rows, then the task waits for names that moved, for a server tree
that changed, and for the hourly complete look. A mailbox that fails stands still by itself; after its wait it is listed
completely, for what happened in it meanwhile was not looked at. What a look finds added is taken into the
store, and what it misses is looked for once more and only then deleted, both after `settle`. What the server moved
between mailboxes is moved here as well, before anything is removed or delivered.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path, PurePosixPath

from syncd.config.model import DeviceConfig, Watch
from syncd.errors import SyncdError
from syncd.log import log
from syncd.maildir.watch import OVERFLOW, ChangedFile, Changes, WatchMode, watch
from syncd.reconcile.guard import DEFAULT, Rule
from syncd.store import holds, troubles
from syncd.store.database import Database
from syncd.store.devices import ADOPTING, DeviceRow
from syncd.store.holds import HoldState
from syncd.sync.activity import Activity
from syncd.sync.attachment import Adopted, Adoptions, Attachment
from syncd.sync.commons import Commons, FileSystems
from syncd.sync.device_files import DeviceFiles
from syncd.sync.device_mailboxes import DeviceMailboxes, Served
from syncd.sync.first_looks import FirstLooks
from syncd.sync.intake import Intake
from syncd.sync.policies import policy_of, selection_of
from syncd.sync.recent_bodies import RecentBodies
from syncd.sync.requests import Asked, Requests
from syncd.sync.round import ReplicaRound
from syncd.sync.second_look import SecondLook
from syncd.sync.shift_round import ShiftRound
from syncd.sync.shifted_files import ShiftedFiles
from syncd.sync.standstill import Standstill
from syncd.sync.wakes import Wakes

_FULL_LOOK_S = 3600.0
_MARKER_CHECK_S = 30.0
_SECOND_LOOKS_MAX = 5
_EVERY_NAME = Changes(mailboxes=frozenset({PurePosixPath()}))
"""List every mailbox; what was heard of as written is looked at beside that."""
_STALE_MAX = 5
"""How often the device may forestall us at one message before it is set aside."""


class Device:
    """Keep the replicas of one device; `attach` first, then `settle`, or `run` for as long as the device is there."""

    def __init__(
        self,
        db: Database,
        name: str,
        config: DeviceConfig,
        *,
        account_ids: Mapping[str, int],
        wakes: Wakes,
        file_systems: FileSystems,
        recent: RecentBodies,
        activity: Activity,
        clock: Callable[[], float],
        rule: Rule = DEFAULT,
        spool_directory: Path | None = None,
        is_watched: bool = True,
    ) -> None:
        """Take the ids of the accounts that the device selects, by name."""
        self._db = db
        self._name = name
        self._config = config
        self._is_watched = is_watched
        self._wakes = wakes
        self._activity = activity
        self._clock = clock
        self._rule = rule
        self._attachment = Attachment(db, name, config, clock=clock)
        self._files = DeviceFiles(
            db,
            config,
            marker=self._attachment.marker,
            prover=self._attachment.prover,
            file_systems=file_systems,
            recent=recent,
            clock=clock,
            is_watched=is_watched,
        )
        self._intake = Intake(
            db,
            config.path,
            settle_s=config.settle_s,
            spool_directory=spool_directory,
            keywords=self._files.holdable_keywords,
            prover=self._attachment.prover,
            clock=clock,
        )
        self._second_look = SecondLook(
            db,
            config.path,
            self._files,
            settle_s=config.settle_s,
            prover=self._attachment.prover,
            clock=clock,
        )
        self._mailboxes = DeviceMailboxes(db, config, account_ids=account_ids, clock=clock)
        self._first_looks = FirstLooks(
            db, config, self._files, self._mailboxes, prover=self._attachment.prover, activity=activity, clock=clock
        )
        self._shifted_files = ShiftedFiles(
            config.path, self._files, marker=self._attachment.marker, prover=self._attachment.prover
        )
        self._shifted_upto: Mapping[int, int] = {}
        self._still = Standstill(name)
        self._stale: Counter[int] = Counter()
        self.requests = Requests(wakes.device(name))
        self._are_holds_judged = self._is_put_off = False
        self._adoptions = Adoptions()
        self._has_changed = True
        """Whether the device may have added something since that was last asked."""

    @property
    def name(self) -> str:
        return self._name

    @property
    def commons(self) -> Commons:
        """Return what the device shares with others on its file system."""
        return self._files.commons

    async def adopt(self) -> Adopted:
        """Let the running task make the root its own, and return when it has; DeviceAwayError when it cannot."""
        asked = self._adoptions.ask()
        self.requests.hurry()
        return await asked

    async def attach(self) -> None:
        """Prove that the root is ours, and make the replicas; DeviceAwayError when it is not."""
        self._activity.now("attaching", self._clock())
        await self._adoptions.answer(self._attachment.adopt)
        if await self._attachment.attach():
            self._wake_accounts()  # nothing was fetched for us until now
        await self._files.arrive()
        self._second_look.begin_anew()
        self._shifted_upto = {}
        self._activity.error = self._activity.retry_at = None
        device_id = (await self._attachment.row()).id
        await self._mailboxes.mark_unserved(device_id)
        await self._mailboxes.ensure_replicas(device_id, self._still)
        await self._look_first(await self._attachment.row())
        log.info("device_attached", device=self._name)

    def _wake_accounts(self) -> None:
        for account in self._mailboxes.accounts:
            self._wakes.account(account).set()

    async def settle(self, *, until: Callable[[], bool] = lambda: False) -> int:
        """Run rounds until no replica has news of its server, or `until` says so; return the number of effects.

        The replicas take turns, a round each. One whose mailbox stands still is left out.
        """
        row, wake = await self._attachment.row(), self._wakes.device(self._name)
        await self._mailboxes.ensure_replicas(row.id, self._still)
        await self._look_first(row)
        due = await self._due(row)
        effects, rounds = 0, Counter[int]()
        self._is_put_off = False
        while not until():
            moving = [each for each in await self._looked_at(row.id) if each.mailbox.id not in self._still]
            seen = [each for each in moving if self._wakes.halves.are_seen(each.account, wake=wake)]
            # NOTE: of files that were found, no move is told from a message that has its file already.
            if not self._first_looks.found and (shifted := await self._shift(row, seen)):
                effects += shifted
                continue
            pending = [
                served
                for served in moving
                if (served.replica.has_server_news or served.mailbox.id in due) and served.mailbox.id not in self._still
            ]
            waiting = [served for served in pending if self._wakes.halves.are_seen(served.account, wake=wake)]
            if pending and not waiting:
                self._is_put_off = True
                break
            if not waiting:
                self._stale.clear()
                self._still.passed()
                self._are_holds_judged = True
                break
            served = min(waiting, key=lambda one: rounds[one.mailbox.id])
            rounds[served.mailbox.id] += 1
            due.discard(served.mailbox.id)
            with self._still.guard(served.mailbox.id, served.where):
                effects += await self._round(row, served)
        await self._tell()
        return effects

    async def _looked_at(self, device_id: int) -> list[Served]:
        """Return the replicas whose files are known: of the others nothing may be concluded yet."""
        return [one for one in await self._mailboxes.served(device_id) if one.replica.listed_at is not None]

    async def _look_first(self, row: DeviceRow) -> None:
        """Look at replicas that nobody has looked at, and find the messages of files that were there before us."""
        for account in await self._first_looks.run(row.id, self._still):
            self._has_changed = True
            self._wakes.account(account).set()
            self._wakes.device(self._name).set()
        if row.state == ADOPTING and await self._mailboxes.are_looked_at(row.id):
            await self._attachment.record_adopted()
            self._wake_accounts()

    async def _shift(self, row: DeviceRow, all_served: Sequence[Served]) -> int:
        """Move the files of messages that the server moved; look for such ones where the server tree changed."""
        upto = {served.replica.id: served.replica.mailbox_version for served in all_served}
        if upto == self._shifted_upto or not any(served.replica.has_server_news for served in all_served):
            return 0
        may_be_begun, self._shifted_upto = not self._shifted_upto, {}
        selection = selection_of(self._config, now=self._clock())
        shifts = ShiftRound(
            self._db, self._shifted_files, row, all_served, selection, rule=self._rule, now=self._clock()
        )
        effects = 0
        for batch in await shifts.plan(may_be_begun=may_be_begun):
            self._activity.now(f"moving files to {batch.target.where}", self._clock())
            with self._still.guard(batch.target.mailbox.id, batch.target.where):
                result = await shifts.perform(batch)
                effects += result.effects
                if result.was_touched:
                    self._has_changed = True
                    await self._second_look.note(row.id, all_served)
                if result.has_device_news:
                    self._wakes.account(batch.target.account).set()
        if not effects:
            self._shifted_upto = upto
        return effects

    async def _round(self, row: DeviceRow, served: Served) -> int:
        self._activity.now(f"delivering {served.where}", self._clock())
        # NOTE: after its row was read: of a body that comes later, the round does not know yet.
        await self._first_looks.pair(served)
        policy = policy_of(served.replica, served.mailbox, selection_of(self._config, now=self._clock()))
        hopeless = frozenset(message_id for message_id, count in self._stale.items() if count >= _STALE_MAX)
        replica_round = ReplicaRound(
            self._db, self._files, row, served.replica, policy, self._rule, self._clock(), hopeless
        )
        try:
            result = await replica_round.run()
        except SyncdError:
            self._wakes.account(served.account).set()  # the device may have changed files before that
            raise
        self._stale.update(result.stale)
        if result.has_device_news:
            self._has_changed = True
            await self._second_look.note(row.id, await self._looked_at(row.id))
            self._wakes.account(served.account).set()
        return result.effects

    async def _due(self, row: DeviceRow) -> set[int]:
        now = self._clock()
        # NOTE: once after each start all holds are judged anew, by the rule that the configuration has now.
        states = {HoldState.RELEASED} if self._are_holds_judged else set(HoldState)
        return await self._db.read(
            lambda conn: {
                *troubles.due_mailboxes(conn, device_id=row.id, now=now),
                *holds.mailboxes_of(conn, device_id=row.id, states=states),
            }
        )

    async def _tell(self) -> None:
        """Show the mailboxes that stand still, or that none does any more."""
        if self._activity.error != self._still.error:
            self._activity.error = self._still.error
            await self._attachment.record("active", self._still.error)

    async def observe(self, changes: Changes) -> None:
        """Look at what changed below the root, and wake the accounts whose mail that was."""
        if changes.is_overflow or changes.mailboxes:
            await self._take_over_directories()
        files: dict[str, list[ChangedFile]] = {}
        for changed in changes.files:
            files.setdefault(str(changed.directory), []).append(changed)
        device_id = (await self._attachment.row()).id
        count, all_served = 0, await self._looked_at(device_id)
        for served in all_served:
            if served.mailbox.id not in self._still:
                with self._still.guard(served.mailbox.id, served.where):
                    count += await self._observe(served, changes, files.get(served.replica.directory, []))
        if count or changes.is_overflow or changes.mailboxes:
            self._has_changed = True
            await self._second_look.note(device_id, all_served)

    async def _take_over_directories(self) -> None:
        """Make mailboxes of directories that programs made, and look at once what was moved there."""
        made = await self._mailboxes.make_mailboxes(await self._attachment.prover())
        for account in made:
            self._wakes.account(account).set()
        if made:
            row = await self._attachment.row()
            await self._mailboxes.ensure_replicas(row.id, self._still)
            await self._look_first(row)

    async def _observe(self, served: Served, changes: Changes, files: list[ChangedFile]) -> int:
        replica, directory = served.replica, PurePosixPath(served.replica.directory)
        if changes.is_overflow:
            self._files.examine(replica)  # what was written in place may not have been heard of
        is_whole = changes.is_overflow or any(directory.is_relative_to(one) for one in changes.mailboxes)
        if directory in changes.keyword_lists:
            is_whole |= await self._files.read_keywords(replica)
        count = 0
        if is_whole:
            count = await self._files.observe_all(replica)
            files = [changed for changed in files if changed.is_written]  # which is told by no name
        if files:
            count += await self._files.observe(replica, [changed.file for changed in files])
        if count:
            self._wakes.account(served.account).set()
        return count

    async def take_in(self, *, waits: bool) -> None:
        """Take what the device added into the store, of that whose time has come; waits: until that of all has."""
        if not (self._has_changed or self._intake.is_busy or waits):
            return
        self._has_changed = False
        device_id = (await self._attachment.row()).id
        served = await self._looked_at(device_id)
        accounts = await self._intake.run(device_id, served, self._still, waits=waits)
        for account in accounts:
            self._wakes.account(account).set()
        await self._second_look.note(device_id, served, is_news=bool(accounts))

    async def look_again(self, *, waits: bool) -> None:
        """Conclude which missing files are deleted, of those whose time has come; waits: until that of all has."""
        device_id = (await self._attachment.row()).id
        for _ in range(_SECOND_LOOKS_MAX if waits else 1):
            wait_s = self._second_look.wait_s(self._still, for_all=waits)
            if wait_s is None:
                break
            if waits:
                self._activity.now("waiting whether missing files come back", self._clock())
                await asyncio.sleep(wait_s)
            served = await self._looked_at(device_id)
            for account in await self._second_look.run(device_id, served, self._still):
                self._wakes.account(account).set()

    async def look(self) -> None:
        """List every replica completely and record what the device did."""
        await self.observe(_EVERY_NAME)

    async def run(self) -> None:
        """Serve the device until cancelled; raises when its root is no longer what it was."""
        try:
            await self.attach()
            await self._run()
        except SyncdError as error:
            self.requests.fail(error)
            raise

    async def _run(self) -> None:
        wake, changes = self._wakes.device(self._name), _Pending()
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._is_watched:
                    tasks.create_task(self._watch(changes, wake))
                else:
                    changes.add(OVERFLOW)
                await self._serve(changes, wake)
        except ExceptionGroup as errors:
            raise _first(errors) from errors

    async def _serve(self, changes: "_Pending", wake: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        looked_at = loop.time()
        while True:
            await self._sleep(wake)
            if await self._adoptions.answer(self._attachment.adopt):
                await self.attach()
                changes.add(OVERFLOW)
            await self._attachment.check()
            is_asked = self.requests.take() is Asked.LOOK
            if is_asked:
                await self._hurry()
            if is_asked:
                changes.add(_EVERY_NAME)
            if loop.time() - looked_at >= _FULL_LOOK_S:
                changes.add(OVERFLOW)
                looked_at = loop.time()
            changes.add(await self._unseen())
            if changes.pending:
                await self.observe(changes.take())
            await self.take_in(waits=is_asked)  # first, so that what was moved is known before its old file is deleted
            await self.look_again(waits=is_asked)
            await self.settle(until=lambda: bool(changes.pending))
            if changes.pending:
                wake.set()
            elif not self._is_put_off:
                self.requests.answer()
                self._activity.now("idle", self._clock())

    async def _hurry(self) -> None:
        """Try again at once what waits, also what was given up: somebody asks."""
        self._still.hurry()
        device_id = (await self._attachment.row()).id
        await self._db.write(lambda conn: troubles.hurry(conn, device_id=device_id))

    async def _unseen(self) -> Changes:
        """Return the mailboxes that stood still until now, as changed anyhow."""
        again = self._still.retry()
        if not again:
            return Changes()
        served = await self._mailboxes.served((await self._attachment.row()).id)
        unseen = [one.replica for one in served if one.mailbox.id in again]
        for replica in unseen:
            self._files.examine(replica)
        return Changes(mailboxes=frozenset(PurePosixPath(replica.directory) for replica in unseen))

    async def _watch(self, changes: "_Pending", wake: asyncio.Event) -> None:
        stop = asyncio.Event()
        mode = WatchMode.POLL if self._config.watch is Watch.POLL else WatchMode.AUTO
        async with aclosing(watch(self._config.path, stop=stop, mode=mode)) as found:
            async for changed in found:
                unexpected = self._files.unexpected(changed)
                if unexpected:
                    changes.add(unexpected)
                    wake.set()

    async def _sleep(self, wake: asyncio.Event) -> None:
        try:
            waits_s = (self._second_look.wait_s(self._still), self._intake.wait_s(self._still), _MARKER_CHECK_S)
            async with asyncio.timeout(self._still.wait_s(min(wait_s for wait_s in waits_s if wait_s is not None))):
                await wake.wait()
        except TimeoutError:
            pass
        wake.clear()


def _first(errors: BaseException) -> BaseException:
    """Return the error that ended a group of tasks; the others ended because of it."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors


class _Pending:
    """Gather changes until the task takes them."""

    def __init__(self) -> None:
        self.pending = Changes()

    def add(self, changes: Changes) -> None:
        self.pending |= changes

    def take(self) -> Changes:
        taken, self.pending = self.pending, Changes()
        return taken
