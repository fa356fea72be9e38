"""Floor 4: the looks of one device at what changed below its root, each mailbox for itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath

from syncd.mail.paths import path_of
from syncd.maildir.news.changes import ChangedFile, Changes, Pending
from syncd.store.trees.devices import ReplicaRow
from syncd.sync.device.known_mailboxes import Served
from syncd.sync.device.parts import DeviceParts
from syncd.sync.wakes import Wakes


class DeviceLooks:
    """Look where something is said to have changed, and tell those who conclude from it, and the accounts."""

    def __init__(self, parts: DeviceParts, *, wakes: Wakes) -> None:
        self._attachment = parts.attachment
        self._files = parts.files
        self._mailboxes = parts.mailboxes
        self._directories = parts.directories
        self._intake = parts.intake
        self._second_look = parts.second_look
        self._still = parts.still
        self._last_look = parts.last_look
        self._wakes = wakes

    async def observe(
        self,
        changes: Changes,
        *,
        more: Pending | None = None,
        reads_ahead: bool = False,
        knows_directories: bool = False,
    ) -> None:
        """Look at what changed below the root, and wake the accounts whose mail that was.

        more: as long as anything is there, nothing is looked for that was missed. reads_ahead: beside that look, files
        that were added are read. knows_directories: which there are was looked at just before.
        """
        device_id = self._attachment.device_id
        self._intake.hear(changes)
        if changes.is_overflow or changes.mailboxes:
            if not knows_directories:
                await self._directories.look(device_id)
            await self._give_absent_up(device_id)
        files: dict[str, list[ChangedFile]] = {}
        for changed in changes.files:
            files.setdefault(str(changed.directory), []).append(changed)
        count, all_served = 0, await self._mailboxes.looked_at(device_id)
        concerned = [one for one in all_served if one.mailbox.id not in self._still]
        if not (changes.is_overflow or changes.mailboxes):
            named = files.keys() | {str(directory) for directory in changes.keyword_lists}
            concerned = [one for one in concerned if one.replica.directory in named]
        listed = await self._listed(device_id, [one.replica for one in concerned], changes)
        for served in concerned:
            with self._still.guard(served.mailbox.id, served.where):
                count += await self._observe(
                    served, changes, files.get(served.replica.directory, []), is_listed=served.replica.id in listed
                )
        is_last = more is None or not more.pending
        missed = [one for one in all_served if is_last and self._files.has_missed(one.replica)]
        if missed and reads_ahead:
            await self._intake.read_ahead(device_id, all_served, self._still)
        for served in missed:
            if served.mailbox.id not in self._still:
                with self._still.guard(served.mailbox.id, served.where), self._telling(served):
                    count += await self._files.look_for_missed(served.replica)
        if changes.keyword_lists:
            self._last_look.forget()  # one that is new may be written under another name, of which nobody hears
        has_moves = bool(count) and self._files.take_moves()
        if has_moves or changes.is_overflow or changes.mailboxes:
            self._intake.expect()
            await self._second_look.note(device_id, all_served)

    async def unseen(self) -> Changes:
        """Return the mailboxes that stood still until now, and those that were given up, as changed anyhow."""
        again = self._still.retry() | self._mailboxes.unlooked
        self._mailboxes.unlooked = set()
        if not again:
            return Changes()
        served = await self._mailboxes.served(self._attachment.device_id)
        unseen = [one.replica for one in served if one.mailbox.id in again]
        for replica in unseen:
            self.examine(replica)
        return Changes(mailboxes=frozenset(PurePosixPath(replica.directory) for replica in unseen))

    def examine(self, replica: ReplicaRow) -> None:
        """Read the files of a replica again at its next look: what was written in place is told by no name."""
        self._files.examine(replica)
        self._last_look.forget()  # which tells of names only

    async def _listed(self, device_id: int, replicas: Sequence[ReplicaRow], changes: Changes) -> frozenset[int]:
        """Return those of these replicas that need no look of their own to be listed."""
        if changes.is_overflow:
            for replica in replicas:
                self.examine(replica)  # what was written in place may not have been heard of
            return await self._files.as_rows_say(replicas)
        return await self._files.as_listed(device_id, replicas) if changes.mailboxes else frozenset()

    async def _give_absent_up(self, device_id: int) -> None:
        """Where a directory went, what went wrong and what was seen there is over."""
        self._still.let_go(self._mailboxes.absent)
        for one in await self._mailboxes.all_served(device_id) if self._mailboxes.absent else ():
            if one.mailbox.id in self._mailboxes.absent:
                self.examine(one.replica)  # meanwhile nobody hears of what is written in place there

    async def _observe(self, served: Served, changes: Changes, files: list[ChangedFile], *, is_listed: bool) -> int:
        replica, directory = served.replica, path_of(served.replica.directory)
        is_named = changes.is_overflow or any(directory.is_relative_to(one) for one in changes.mailboxes)
        is_whole = is_named and not is_listed
        if directory in changes.keyword_lists:
            is_whole |= await self._files.keywords.read(replica)
        with self._telling(served):
            count = 0
            if is_whole:
                count = await self._files.observe_all(replica)
                files = [changed for changed in files if changed.is_written]  # which is told by no name
            if files:
                count += await self._files.observe(replica, [changed.file for changed in files])
        return count

    @contextmanager
    def _telling(self, served: Served) -> Iterator[None]:
        """Wake the account of a mailbox in which anything is seen to have changed."""
        try:
            yield
        finally:
            if self._files.take_news(served.replica):
                self._wakes.account(served.account).set()
