"""Floor 4: the mailboxes of one device: which it selects, and a replica with a directory for each."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from sqlalchemy import Connection

from syncd.config.model import DeviceConfig, Layout
from syncd.errors import MailboxNameError
from syncd.mail.mailbox import is_selected
from syncd.maildir.directories import are_same_directory
from syncd.maildir.files import CUR, NEW
from syncd.maildir.layout import Fs, MaildirPlusPlus, are_nearly_equal
from syncd.maildir.layout import Layout as DirectoryLayout
from syncd.maildir.root import ReplicaRoot
from syncd.reconcile.mailboxes import sync_order
from syncd.store import accounts, devices, mailbox_changes
from syncd.store.accounts import MailboxRow
from syncd.store.database import Database
from syncd.store.devices import ReplicaRow
from syncd.store.mailbox_changes import ChangeKind
from syncd.sync.attachment import Prove
from syncd.sync.mailbox_directories import MailboxDirectories
from syncd.sync.policies import selection_text
from syncd.sync.standstill import Standstill


@dataclass(frozen=True, slots=True)
class Served:
    """A replica with its mailbox and the account that it belongs to."""

    replica: ReplicaRow
    mailbox: MailboxRow
    account: str

    @property
    def where(self) -> str:
        return f"{self.account}/{self.mailbox.name}"


class DeviceMailboxes:
    """Know what one device selects, and make what it lacks."""

    def __init__(
        self,
        db: Database,
        config: DeviceConfig,
        *,
        account_ids: Mapping[str, int],
        prover: Callable[[], Awaitable[Prove]],
        clock: Callable[[], float],
    ) -> None:
        """Take the ids of the accounts that the device selects, by name, and what gives proof of the root."""
        self._db = db
        self._config = config
        self._account_ids = account_ids
        self._clock = clock
        self.layout: DirectoryLayout = Fs() if config.layout is Layout.FS else MaildirPlusPlus()
        """Says which directory is that of which mailbox."""
        self._directories = MailboxDirectories(db, config.path, self.layout, prover=prover)
        self._selections: dict[int, str] = {}
        self.absent: frozenset[int] = frozenset()
        """The mailboxes whose directories were not there at the last look, though nothing is concluded from that."""

    @property
    def accounts(self) -> Collection[str]:
        """Return the accounts that the device selects."""
        return self._account_ids.keys()

    async def served(self, device_id: int) -> list[Served]:
        """Return the replicas of the mailboxes that the device selects now, in the order in which they are synced.

        Without those whose directories a program removed, or renamed: there is nothing to be read or written.
        """
        out = self.absent | await self._out(device_id)
        return [one for one in await self.all_served(device_id) if one.mailbox.id not in out]

    async def removed(self, device_id: int) -> list[Served]:
        """Return those whose directories a program removed, if that is concluded."""
        removed = await self._out(device_id, kinds={ChangeKind.REMOVE})
        return [one for one in await self.all_served(device_id) if one.mailbox.id in removed] if removed else []

    async def all_served(self, device_id: int) -> list[Served]:
        """Return the replicas of the mailboxes that the device selects now, with a directory or without."""
        replicas, selected = await self._known(device_id)
        by_mailbox = {replica.mailbox_id: replica for replica in replicas}
        return [
            Served(by_mailbox[mailbox.id], mailbox, account)
            for account, mailbox in selected
            if mailbox.id in by_mailbox
        ]

    async def looked_at(self, device_id: int) -> list[Served]:
        """Return the replicas whose files are known: of the others nothing may be concluded yet."""
        return [one for one in await self.served(device_id) if one.replica.listed_at is not None]

    async def are_looked_at(self, device_id: int) -> bool:
        """Tell whether all that the device selects was listed by its servers, and looked at here, at least once."""
        # NOTE: in this order, for mailboxes that were listed after the others were read have no replica yet.
        if not await self._db.read(partial(accounts.are_listed, account_ids=list(self._account_ids.values()))):
            return False
        replicas, selected = await self._known(device_id)
        seen = {one.mailbox_id for one in replicas if one.listed_at is not None}
        return {mailbox.id for _, mailbox in selected} <= seen

    async def mark_unserved(self, device_id: int) -> None:
        """Remember which replicas the device does not select: what becomes of their files meanwhile says nothing."""
        replicas, selected = await self._known(device_id)
        wanted = {mailbox.id for _, mailbox in selected}
        unserved = [one.id for one in replicas if one.mailbox_id not in wanted and one.selection]
        if unserved:
            await self._db.write(partial(devices.mark_unserved, replica_ids=unserved))

    async def ensure_replicas(self, device_id: int, still: Standstill) -> frozenset[str]:
        """Rename the replicas of renamed mailboxes, make those that the device lacks, and record what it selects.

        A mailbox that cannot have one waits. Return the accounts of which something was renamed.
        """
        renamed = await self._directories.follow(device_id, still)
        text = selection_text(self._config)
        replicas, selected = await self._known(device_id)
        owners = {replica.directory: replica.mailbox_id for replica in replicas}
        known = {replica.mailbox_id: PurePosixPath(replica.directory) for replica in replicas}
        out = self.absent | await self._out(device_id)
        for account, mailbox in selected:
            if (
                mailbox.id in out
                or mailbox.id in still
                or (mailbox.id in known and self._selections.get(mailbox.id) == text)
            ):
                continue
            with still.guard(mailbox.id, f"{account}/{mailbox.name}"):
                directory = known.get(mailbox.id) or self.layout.directory(account, mailbox.name)
                if owners.setdefault(str(directory), mailbox.id) != mailbox.id:
                    raise MailboxNameError("another mailbox has the directory that this one would have")
                # NOTE: one that a replica had and that is gone is no empty one, so it is not made again.
                others = [PurePosixPath(other) for other in owners if are_nearly_equal(other, str(directory))]
                prepare = self._clean_directory if mailbox.id in known else partial(self._make_directory, others=others)
                is_empty = await asyncio.to_thread(prepare, directory)
                make = partial(
                    devices.ensure_replica,
                    device_id=device_id,
                    mailbox_id=mailbox.id,
                    directory=str(directory),
                    selection=text,
                    listed_at=self._clock() if is_empty else None,
                )
                await self._db.write(make)
                self._selections[mailbox.id] = text
        return renamed

    async def remove_left(self, device_id: int, still: Standstill) -> None:
        """Remove the directories of mailboxes that their servers have no more, as far as nothing is left in them."""
        for one in await self.served(device_id):
            if not one.mailbox.is_there and one.mailbox.id not in still and not one.replica.has_server_news:
                with still.guard(one.mailbox.id, one.where):
                    if await self._directories.remove(one.replica.id, PurePosixPath(one.replica.directory)):
                        self._selections.pop(one.mailbox.id, None)

    async def restore(self, one: Served) -> None:
        """Make the directory of a replica again."""
        await asyncio.to_thread(self._make_directory, PurePosixPath(one.replica.directory), others=())

    def _make_directory(self, directory: PurePosixPath, *, others: Collection[PurePosixPath]) -> bool:
        """Make what is missing of a directory, and tell whether it holds no message.

        others: directories of mailboxes that a disk may take for this one.
        """
        with ReplicaRoot(self._config.path) as root, root.create(directory) as mailbox:
            if any(are_same_directory(root, directory, other) for other in others):
                raise MailboxNameError("the disk does not tell this name from that of another mailbox")
            mailbox.clean_tmp(now_s=self._clock())
            return not any(True for subdir in (CUR, NEW) for _ in mailbox.entries(subdir))

    def _clean_directory(self, directory: PurePosixPath) -> bool:
        with ReplicaRoot(self._config.path) as root, root.mailbox(directory) as mailbox:
            mailbox.clean_tmp(now_s=self._clock())
        return False

    async def _out(self, device_id: int, *, kinds: Collection[ChangeKind] = frozenset(ChangeKind)) -> frozenset[int]:
        changes = await self._db.read(partial(mailbox_changes.mailbox_changes, device_id=device_id))
        return frozenset(one.mailbox_id for one in changes if one.mailbox_id is not None and one.kind in kinds)

    async def _known(self, device_id: int) -> tuple[tuple[ReplicaRow, ...], list[tuple[str, MailboxRow]]]:
        """Return the replicas that there are, and with its account each mailbox that the device selects.

        Of those that their servers have no more, the ones that are on the device still.
        """
        replicas, selected = await self._db.read(
            lambda conn: (devices.replicas(conn, device_id=device_id), self._selected(conn))
        )
        here = {replica.mailbox_id for replica in replicas}
        return replicas, [one for one in selected if one[1].is_there or one[1].id in here]

    def _selected(self, conn: Connection) -> list[tuple[str, MailboxRow]]:
        found: list[tuple[str, MailboxRow]] = []
        for account, account_id in self._account_ids.items():
            rows = [row for row in accounts.mailboxes(conn, account_id=account_id) if row.is_synced]
            rows += [row for row in accounts.left_mailboxes(conn, account_id=account_id) if row.is_selected]
            found += [(account, row) for row in rows if self._takes(row)]
        return sorted(found, key=lambda one: sync_order(one[1].name, one[1].special_use))

    def _takes(self, mailbox: MailboxRow) -> bool:
        return is_selected(mailbox.name, self._config.mailboxes)
