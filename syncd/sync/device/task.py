"""Floor 4: the task of one device: watch its root, and keep its replicas at their mailboxes.

Theory. Once attached, the whole of each replica is compared with its rows, then the task waits for names that moved,
for a server tree that changed, and for the hourly complete look. Who asks for a look has all of it compared again, but
where the watch is sure to have told of all that happened since. What a look finds added is taken into the store, and
what it misses is looked for once more and only then deleted, both after `settle`, or at once where somebody waits for
it: who asks for a sync says that no program is in the middle of its work. After that come the rounds (`DeviceRounds`),
which end early when the device does something. A mailbox that fails stands still by itself; after its wait it is listed
completely, for what happened in it meanwhile was not looked at.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import PurePosixPath

from syncd.config.model import Watch
from syncd.errors import SyncdError
from syncd.log import log
from syncd.maildir.news.changes import OVERFLOW, Changes, Pending
from syncd.maildir.news.last_look import Since
from syncd.maildir.news.silence import Silence
from syncd.store.rounds import leaving
from syncd.store.trees import troubles
from syncd.sync.at_rest import AtRest
from syncd.sync.commons import Commons
from syncd.sync.device.attachment import Adopted, Adoptions
from syncd.sync.device.looks import DeviceLooks
from syncd.sync.device.parts import DeviceParts
from syncd.sync.device.rounds import DeviceRounds
from syncd.sync.device.served_device import ServedDevice
from syncd.sync.requests import Asked, Requests
from syncd.sync.wakes import Wake

_FULL_LOOK_S = 3600.0
_MARKER_CHECK_S = 30.0
_LOOKS_MAX = 5
_SECOND_LOOKS_MAX = 5
_UNCLEAR_LOOKS_MAX = 25
_HURRIES_S = 5.0
"""For how long nothing is waited for after a look that somebody asked for; what comes later was not there then."""
_PATIENCE_S = 10.0
_GATHERING_S = 0.5
"""For how long a device that only links what another one writes lets more come, where it is about to."""
_HEAR_OUT_S = 0.2
"""A watch tells of what happened within some hundredths of a second, but where programs change files all the time."""
_EVERY_NAME = Changes(mailboxes=frozenset({PurePosixPath()}))
"""List every mailbox; what was heard of as written is looked at beside that."""


class Device:
    """Keep the replicas of one device; `attach` first, then `settle`, or `run` for as long as the device is there."""

    def __init__(self, device: ServedDevice, parts: DeviceParts, *, is_watched: bool) -> None:
        """Take the parts of this very device; is_watched: hear of what it changes, else see it when asked to look."""
        self._device = device
        self._db = device.db
        self._config = device.config
        self._activity = device.activity
        self._clock = device.clock
        self._is_watched = is_watched
        self._attachment = parts.attachment
        self._files = parts.files
        self._mailboxes = parts.mailboxes
        self._directories = parts.directories
        self._intake = parts.intake
        self._second_look = parts.second_look
        self._still = parts.still
        self._last_look = parts.last_look
        self._looks = DeviceLooks(parts, wakes=device.wakes)
        self._fell_silent = asyncio.Event()
        self._unclear_looks = 0
        """After how many passes in a row files were to be looked at again."""
        self._rounds = DeviceRounds(device, parts)
        self._at_rest = AtRest(device.db)
        self.requests = Requests(device.wake)
        self._activity.wake = self._wake = device.wake
        self._adoptions = Adoptions()

    @property
    def name(self) -> str:
        return self._device.name

    @property
    def commons(self) -> Commons:
        """Return what the device shares with others on its file system."""
        return self._files.commons

    async def adopt(self, *, leaves_others: bool = False) -> Adopted:
        """Let the running task make the root its own, and return when it has; DeviceAwayError when it cannot.

        leaves_others: though there are files in no mailbox.
        """
        asked = self._adoptions.ask(leaves_others=leaves_others)
        self.requests.hurry()
        return await asked

    def let_go(self, error: SyncdError) -> None:
        """Tell whoever waits, and who shares files with the device, that this task serves it no more."""
        self.requests.fail(error)
        self._adoptions.fail(error)
        self._device.file_systems.leave(str(self._config.path))

    async def attach(self) -> None:
        """Prove that the root is ours, and make the replicas; DeviceAwayError when it is not."""
        await self._prove()
        await self._begin()

    async def _prove(self) -> None:
        self._activity.now("attaching", self._clock())
        self._at_rest.forget()
        await self._adoptions.answer(self._attachment.adopt)
        if await self._attachment.attach():
            self._device.wake_accounts(self._mailboxes.accounts)  # nothing was fetched for us until now

    async def _begin(self) -> None:
        await asyncio.to_thread(self._last_look.begin_anew)
        await self._files.arrive()
        self._second_look.begin_anew()
        self._rounds.begin_anew()
        self._activity.recovered()
        device_id = self._attachment.device_id
        if self._config.read_only:
            await self._db.write(partial(leaving.drop_deletions, device_id=device_id))
        await self._mailboxes.settle_renames(device_id)
        await self._mailboxes.mark_unserved(device_id)
        await self._directories.look(device_id)
        await self._rounds.ensure_replicas(device_id)
        await self._rounds.clean(await self._attachment.row())
        await self._rounds.look_first(await self._attachment.row())
        log.info("device_attached", device=self._device.name)

    async def settle(self, *, until: Callable[[], bool] = lambda: False) -> int:
        """Run rounds until no replica has news of its server, or `until` says so; return the number of effects."""
        device_id = self._attachment.device_id
        follow = partial(self._rounds.ensure_replicas, device_id)
        for replica in await self._directories.give_back(device_id, self._still, follow=follow):
            self._looks.examine(replica)
        effects = await self._rounds.settle(until=until)
        await self._tell()
        return effects

    async def _tell(self) -> None:
        """Show the mailboxes that stand still, or that none does any more."""
        error, cause = self._still.error, self._still.cause
        if (self._activity.error, self._activity.cause) != (error, cause):
            self._activity.error, self._activity.cause = error, cause
            await self._attachment.record("active", error, cause)

    async def observe(self, changes: Changes) -> None:
        """Look at what changed below the root, and wake the accounts whose mail that was."""
        await self._looks.observe(changes)

    async def conclude_directories(self, *, at_once: bool) -> None:
        """Tell accounts which mailboxes a program made or removed, once it is time."""
        if not self._directories.is_busy:
            return
        device_id = self._attachment.device_id
        with self._device.telling() as accounts:
            await self._directories.run(device_id, self._still, accounts, at_once=at_once)
        await self._second_look.note(device_id, await self._mailboxes.looked_at(device_id))

    async def take_in(self, *, at_once: bool) -> None:
        """Take what the device added into the store, of that whose time has come; at_once: all, after a moment."""
        if self._config.read_only:
            return
        if not (self._intake.is_busy or at_once):
            return
        device_id = self._attachment.device_id
        served = await self._mailboxes.looked_at(device_id)
        with self._device.telling() as accounts:
            await self._intake.run(device_id, served, self._still, accounts, at_once=at_once)
        await self._second_look.note(device_id, served, is_news=bool(accounts))

    async def look_again(self, *, at_once: bool, is_all_recorded: Callable[[], bool] = lambda: False) -> None:
        """Conclude which missing files are deleted, of those whose time has come; at_once: of all.

        is_all_recorded: tells whether what the device did anywhere until then is.
        """
        device_id = self._attachment.device_id
        for _ in range(_SECOND_LOOKS_MAX if at_once else 1):
            if self._second_look.wait_s(self._still, at_once=at_once) != 0.0:
                break
            served = await self._mailboxes.looked_at(device_id)
            is_known = is_all_recorded()
            with self._device.telling() as accounts:
                await self._second_look.run(
                    device_id, served, self._still, accounts, at_once=at_once, is_all_recorded=is_known
                )

    async def run(self) -> None:
        """Serve the device until cancelled; raises when its root is no longer what it was."""
        self.requests.begin()
        try:
            with self._wake.heard():
                await self._prove()
                async with AsyncExitStack() as turn:
                    if self._attachment.was_filled:  # else there is little to look at, and what is made waits for disk
                        await turn.enter_async_context(self._device.turns.turn())
                    await self._begin()
                    await self._run(turn)
        except SyncdError as error:
            self.requests.end(error)
            raise
        finally:
            self._intake.let_go()

    async def _run(self, turn: AsyncExitStack) -> None:
        wake, changes = self._wake, Pending()
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._is_watched:
                    tasks.create_task(self._watch(changes, wake))
                else:
                    changes.add(OVERFLOW)
                await self._serve(changes, wake, turn)
        except ExceptionGroup as errors:
            raise _first(errors) from errors

    async def _serve(self, changes: Pending, wake: Wake, turn: AsyncExitStack) -> None:
        """Serve until cancelled; the turn ends when all was looked at for the first time."""
        loop = asyncio.get_running_loop()
        while not changes.pending:  # NOTE: before all is looked at, which the watch asks for, files may be here unseen
            await wake.wait()
            wake.clear()
        wake.set()
        looked_at = hurries_until = loop.time()
        # NOTE: where nothing is waited for between `attach` and the first look, that is mostly all that a process does:
        # the directories are known by then, and nobody will ask what has happened since.
        is_sole = not self._is_watched
        self._unclear_looks = 0
        while True:
            await self._sleep(wake)
            if await self._adoptions.answer(self._attachment.adopt):
                await self.attach()
                changes.add(OVERFLOW)
            is_news = self.requests.is_news
            is_to_look = self.requests.take() is Asked.LOOK and is_news
            is_all_told = await self._check(is_to_look=is_to_look, remembers=not is_sole)
            if loop.time() - looked_at >= _FULL_LOOK_S:
                changes.add(OVERFLOW)
                looked_at = loop.time()
            if self._at_rest and self._is_quiet and not changes.pending and (is_all_told or not is_to_look):
                self._answer()
                continue
            if is_to_look:
                await self._hurry()
                changes.add(Changes() if is_all_told else _EVERY_NAME)
            reads_ahead = is_to_look and not self._config.read_only
            await self._look(changes, reads_ahead=reads_ahead, knows_directories=is_sole)
            await turn.aclose()
            is_sole = False
            if is_to_look:
                hurries_until = loop.time() + _HURRIES_S
            await self._conclude(changes, may_hurry=loop.time() < hurries_until)
            await self.settle(until=lambda: self._has_more(changes))
            await self._end_pass(changes, wake)

    async def _look(self, changes: Pending, *, reads_ahead: bool, knows_directories: bool) -> None:
        """Begin a pass, and look at all that changed, or went unseen, and last for what that missed.

        What is told without end does not put that off. reads_ahead: what was added will be taken in at once.
        """
        self._at_rest.begin()
        changes.add(await self._looks.unseen())
        for left in reversed(range(_LOOKS_MAX)):
            if not changes.pending:
                return
            more = changes if left else None
            await self._looks.observe(
                changes.take(), more=more, reads_ahead=reads_ahead, knows_directories=knows_directories
            )
            knows_directories = False

    async def _conclude(self, changes: Pending, *, may_hurry: bool) -> None:
        """Conclude from what was seen, once it has settled, or at once for somebody who waits."""
        at_once = self.requests.are_awaited and may_hurry
        if self.requests.are_awaited and not at_once:
            await self._let_settle()
        await self.conclude_directories(at_once=at_once)
        await self.take_in(at_once=at_once)  # what was moved is known before its old file is deleted
        await self.look_again(at_once=at_once, is_all_recorded=partial(self._is_all_recorded, changes))

    async def _end_pass(self, changes: Pending, wake: asyncio.Event) -> None:
        """Answer who waits, unless there is more to be looked at, or accounts are to say more."""
        unclear = self._files.take_unclear()
        self._unclear_looks = self._unclear_looks + 1 if unclear else 0
        changes.add(unclear)
        is_more = self._has_more(changes)
        if is_more:
            wake.set()
        # NOTE: a directory in which names change all the time may never be seen as it is.
        if not (is_more and self._unclear_looks <= _UNCLEAR_LOOKS_MAX) and not self._rounds.is_put_off:
            if self._is_quiet and not is_more:
                await self._at_rest.end()
            self._answer()
            self._activity.now("idle", self._clock())
        self.requests.close()  # who asks from now on wakes us for another

    def _has_more(self, changes: Pending) -> bool:
        """Tell whether the device did anything that nobody has looked at."""
        return bool(changes.pending or self._mailboxes.unlooked)

    def _answer(self) -> None:
        self._wake.answered()
        self.requests.answer()

    @property
    def _is_quiet(self) -> bool:
        """Tell whether nothing that the task has in memory is waited for or wanted."""
        is_waiting = self._second_look.wait_s(self._still) is not None
        is_waiting |= self._intake.is_busy and not self._config.read_only
        is_waiting |= self._directories.is_busy or bool(self._mailboxes.absent)
        return self._rounds.is_done and self._still.error is None and not is_waiting

    async def _let_settle(self) -> None:
        """Wait, though not without end, until what somebody waits for may be concluded."""
        waits_s = (self._second_look.wait_s(self._still), self._intake.wait_s(self._still), self._directories.wait_s())
        await asyncio.sleep(min(max((one for one in waits_s if one is not None), default=0.0), _PATIENCE_S))

    async def _check(self, *, is_to_look: bool, remembers: bool) -> bool:
        """Prove that the root is ours; of one to be looked at, tell whether no more is to be seen than was told.

        remembers: so that the next look can tell.
        """
        if is_to_look and self._files.take_doubts():
            self._last_look.forget()
        if is_to_look and self._last_look.is_silent():
            return True
        since = await self._attachment.check(self._last_look.compare if is_to_look and remembers else None)
        return since is Since.NOTHING or (since is Since.TOLD and await self._hear_out())

    async def _hear_out(self) -> bool:
        """Wait, though not for long, until the watch has told of all that happened before now; tell whether it has."""
        try:
            async with asyncio.timeout(_HEAR_OUT_S):
                while not self._last_look.is_all_told:
                    self._fell_silent.clear()
                    await self._fell_silent.wait()
        except TimeoutError:
            return False
        return True

    def _is_all_recorded(self, changes: Pending) -> bool:
        return not changes.pending and self._last_look.is_all_told

    def _hear(self, silence: Silence) -> None:
        self._last_look.hear(silence)
        self._fell_silent.set()

    async def _hurry(self) -> None:
        """Try again at once what waits, also what was given up: somebody asks."""
        self._still.hurry()
        self._second_look.hurry()
        if await self._at_rest.is_anything_pending():
            device_id = self._attachment.device_id
            await self._db.write(lambda conn: troubles.hurry(conn, device_id=device_id))

    async def _watch(self, changes: Pending, wake: asyncio.Event) -> None:
        from syncd.maildir.news.watch import WatchMode, watch  # noqa: PLC0415  # a sync by itself watches nothing

        stop = asyncio.Event()
        mode = WatchMode.POLL if self._config.watch is Watch.POLL else WatchMode.AUTO
        hear, path = self._files.hear_names, self._config.path
        changed_names = watch(path, stop=stop, mode=mode, names_files=hear, on_silence=self._hear)
        async with aclosing(changed_names) as found:
            async for changed in found:
                unexpected = self._files.unexpected(changed)
                if unexpected:
                    changes.add(unexpected)
                    wake.set()

    async def _sleep(self, wake: Wake) -> None:
        try:
            waits_s = (
                self._second_look.wait_s(self._still),
                self._intake.wait_s(self._still),
                self._directories.wait_s(),
                _MARKER_CHECK_S,
            )
            async with asyncio.timeout(self._still.wait_s(min(wait_s for wait_s in waits_s if wait_s is not None))):
                await wake.wait()
                # NOTE: to link a file costs little beside a round of its own for each batch that comes from a server.
                if self._files.is_follower:
                    await wake.gathered(_GATHERING_S)
        except TimeoutError:
            pass
        wake.clear()


def _first(errors: BaseException) -> BaseException:
    """Return the error that ended a group of tasks; the others ended because of it."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors
