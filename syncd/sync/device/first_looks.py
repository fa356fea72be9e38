"""Floor 4: the first looks of one device at its replicas, and the messages of the files that were there before us."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial

from sqlalchemy import Connection

from syncd.config.model import DeviceConfig
from syncd.errors import Reach, StoreError
from syncd.log import log
from syncd.mail.message import bare_digest, lf_pieces
from syncd.store.bodies.bodies import Read, stream_body
from syncd.store.engine.database import Database
from syncd.store.files import found_files
from syncd.store.files.found_files import Like
from syncd.sync.activity import Activity
from syncd.sync.device.files import DeviceFiles
from syncd.sync.device.first_look import FirstLook, Prove
from syncd.sync.device.known_mailboxes import Part, Served
from syncd.sync.device.mailboxes import DeviceMailboxes
from syncd.sync.device.standstill import Standstill


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
        self._examined: set[Like] = set()

    async def run(self, device_id: int, still: Standstill, accounts: set[str]) -> None:
        """Look where nobody has looked, match what was found, and add the accounts that hear of it."""
        known = await self._mailboxes.known(device_id)
        self.found = known.found
        if not known.of(Part.UNSEEN) and not self.found:
            self._examined.clear()
            return
        for served in await self._mailboxes.served_of(device_id, known.of(Part.UNSEEN)):
            if served.mailbox.id not in still:
                self._activity.now(f"comparing {served.where}", self._clock())
                with still.guard(served.mailbox.id, served.where):
                    self._files.forget(served.replica)
                    await self._look.run(served)
                    accounts.add(served.account)
                    await self._files.observe_all(served.replica)
        self.found = (await self._mailboxes.known(device_id)).found
        for served in await self._mailboxes.served_of(device_id, self.found):
            if served.replica.listed_at is not None:
                paired = await self.pair(served)
                selection = self._mailboxes.selection_of(served)
                match = partial(
                    found_files.match,
                    of=served.replica,
                    selection=selection,
                    now=self._clock(),
                    examined=self._examined,
                )
                matched = await self._db.write(match)
                paired += matched.known
                if paired or matched.new:
                    log.info("found_files_matched", replica=served.replica.directory, known=paired, new=matched.new)
                    accounts.add(served.account)

    async def pair(self, served: Served) -> int:
        """Find the messages of found files in one mailbox; call it after the row of the replica was read.

        Return how many that were.
        """
        if served.mailbox.id not in self.found:
            return 0
        return await self._db.write(partial(found_files.pair, of=served.replica)) + await self._pair_likes(served)

    async def _pair_likes(self, served: Served) -> int:
        """Find the messages that have the octets of found files but for what programs note in headers."""
        known = 0
        while True:
            likes = await self._db.read(partial(found_files.likes, of=served.replica))
            new = [like for like in likes if like not in self._examined]
            if not new:
                return known
            same = await asyncio.to_thread(same_but_for_notes, self._db.read_now, new)

            def identify(conn: Connection, same: Collection[Like] = same) -> int:
                found_files.identify(conn, served.replica, same, now=self._clock())
                return found_files.pair(conn, served.replica)

            known += await self._db.write(identify) if same else 0
            self._examined.update(new)


def same_but_for_notes(read: Read, likes: Collection[Like]) -> tuple[Like, ...]:
    """Return those of which both bodies are the same but for notes; one that cannot be read is like no other."""
    digests = {id_: _bare_digest(read, id_) for id_ in sorted({id_ for like in likes for id_ in like[1:]})}
    readable = (like for like in likes if digests[like.own_body_id] is not None)
    return tuple(like for like in readable if digests[like.own_body_id] == digests[like.body_id])


def _bare_digest(read: Read, body_id: int) -> bytes | None:
    try:
        # NOTE: mbsync drops every CR, also those that end no line.
        return bare_digest(lf_pieces(stream_body(read, body_id)))
    except StoreError as error:
        if error.reach is not Reach.MESSAGE:
            raise
        return None
