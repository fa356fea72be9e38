"""Floor 4: the first looks of one device at its replicas, and the messages of the files that were there before us."""

from collections.abc import Awaitable, Callable
from functools import partial

from syncd.config.model import DeviceConfig
from syncd.store import found_files
from syncd.store.database import Database
from syncd.sync.activity import Activity
from syncd.sync.device_files import DeviceFiles
from syncd.sync.device_mailboxes import DeviceMailboxes
from syncd.sync.first_look import FirstLook, Prove
from syncd.sync.known_mailboxes import Part, Served
from syncd.sync.standstill import Standstill


class FirstLooks:
    """Know which mailboxes of a device have files of which nobody knows yet whether they are messages'."""

    def __init__(
        self,
        db: Database,
        config: DeviceConfig,
        files: DeviceFiles,
        mailboxes: DeviceMailboxes,
        *,
        prover: Callable[[], Awaitable[Prove]],
        activity: Activity,
        clock: Callable[[], float],
    ) -> None:
        """Call `prover` before each look for what proves the root as it is to be by then."""
        self._db = db
        self._config = config
        self._files = files
        self._mailboxes = mailboxes
        self._look = FirstLook(db, config.path, files, prover=prover, clock=clock)
        self._activity = activity
        self._clock = clock
        self.found: frozenset[int] = frozenset()

    async def run(self, device_id: int, still: Standstill) -> frozenset[str]:
        """Look where nobody has looked, match what was found, and return the accounts that hear of it."""
        known = await self._mailboxes.known(device_id)
        self.found = known.found
        if not known.of(Part.UNSEEN) and not self.found:
            return frozenset()
        accounts: set[str] = set()
        for served in await self._mailboxes.served_of(device_id, known.of(Part.UNSEEN)):
            if served.mailbox.id not in still:
                self._activity.now(f"comparing {served.where}", self._clock())
                with still.guard(served.mailbox.id, served.where):
                    self._files.forget(served.replica)
                    await self._look.run(served)
                    await self._files.observe_all(served.replica)
                    accounts.add(served.account)
        self.found = (await self._mailboxes.known(device_id)).found
        for served in await self._mailboxes.served_of(device_id, self.found):
            if served.replica.listed_at is not None:
                selection = self._mailboxes.selection_of(served)
                match = partial(found_files.match, of=served.replica, selection=selection, now=self._clock())
                if await self._db.write(match):
                    accounts.add(served.account)
        return frozenset(accounts)

    async def pair(self, served: Served) -> None:
        """Find the messages of found files in one mailbox; call it after the row of the replica was read."""
        if served.mailbox.id in self.found:
            await self._db.write(partial(found_files.pair, of=served.replica))
