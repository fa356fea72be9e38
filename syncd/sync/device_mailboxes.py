"""Floor 4: the mailboxes of one device: which it selects, and a replica with a directory for each."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from sqlalchemy import Connection

from syncd.config.model import DeviceConfig, Layout
from syncd.errors import MailboxNameError
from syncd.mail.mailbox import is_selected
from syncd.maildir.files import CUR, NEW
from syncd.maildir.layout import Fs, MaildirPlusPlus
from syncd.maildir.layout import Layout as DirectoryLayout
from syncd.maildir.root import ReplicaRoot
from syncd.reconcile.mailboxes import sync_order
from syncd.store import accounts, devices, mailbox_changes
from syncd.store.accounts import MailboxRow
from syncd.store.database import Database
from syncd.store.devices import ReplicaRow
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
        clock: Callable[[], float],
    ) -> None:
        """Take the ids of the accounts that the device selects, by name."""
        self._db = db
        self._config = config
        self._account_ids = account_ids
        self._clock = clock
        self.layout: DirectoryLayout = Fs() if config.layout is Layout.FS else MaildirPlusPlus()
        """Says which directory is that of which mailbox."""
        self._selections: dict[int, str] = {}
        self.absent: frozenset[int] = frozenset()
        """The mailboxes whose directories were not there at the last look, though nothing is concluded from that."""

    @property
    def accounts(self) -> Collection[str]:
        """Return the accounts that the device selects."""
        return self._account_ids.keys()

    async def served(self, device_id: int) -> list[Served]:
        """Return the replicas of the mailboxes that the device selects now, in the order in which they are synced.

        Without those whose directories a program removed: there is nothing to be read or written.
        """
        out = self.absent | await self._removed(device_id)
        return [one for one in await self.all_served(device_id) if one.mailbox.id not in out]

    async def removed(self, device_id: int) -> list[Served]:
        """Return those whose directories a program removed, if that is concluded."""
        removed = await self._removed(device_id)
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

    async def ensure_replicas(self, device_id: int, still: Standstill) -> None:
        """Make the replicas that the device lacks, and record what it selects; a mailbox that cannot have one waits."""
        text = selection_text(self._config)
        replicas, selected = await self._known(device_id)
        owners = {replica.directory: replica.mailbox_id for replica in replicas}
        known = frozenset(owners.values())
        out = self.absent | await self._removed(device_id)
        for account, mailbox in selected:
            if (
                mailbox.id in out
                or mailbox.id in still
                or (mailbox.id in known and self._selections.get(mailbox.id) == text)
            ):
                continue
            with still.guard(mailbox.id, f"{account}/{mailbox.name}"):
                directory = self.layout.directory(account, mailbox.name)
                if owners.setdefault(str(directory), mailbox.id) != mailbox.id:
                    raise MailboxNameError("another mailbox has the directory that this one would have")
                # NOTE: one that a replica had and that is gone is no empty one, so it is not made again.
                prepare = self._clean_directory if mailbox.id in known else self._make_directory
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

    async def restore(self, one: Served) -> None:
        """Make the directory of a replica again."""
        await asyncio.to_thread(self._make_directory, PurePosixPath(one.replica.directory))

    def _make_directory(self, directory: PurePosixPath) -> bool:
        """Make what is missing of a directory, and tell whether it holds no message."""
        with ReplicaRoot(self._config.path) as root, root.create(directory) as mailbox:
            mailbox.clean_tmp(now_s=self._clock())
            return not any(True for subdir in (CUR, NEW) for _ in mailbox.entries(subdir))

    def _clean_directory(self, directory: PurePosixPath) -> bool:
        with ReplicaRoot(self._config.path) as root, root.mailbox(directory) as mailbox:
            mailbox.clean_tmp(now_s=self._clock())
        return False

    async def _removed(self, device_id: int) -> frozenset[int]:
        changes = await self._db.read(partial(mailbox_changes.mailbox_changes, device_id=device_id))
        return frozenset(one.mailbox_id for one in changes if one.mailbox_id is not None)

    async def _known(self, device_id: int) -> tuple[tuple[ReplicaRow, ...], list[tuple[str, MailboxRow]]]:
        """Return the replicas that there are, and with its account each mailbox that the device selects."""
        return await self._db.read(lambda conn: (devices.replicas(conn, device_id=device_id), self._selected(conn)))

    def _selected(self, conn: Connection) -> list[tuple[str, MailboxRow]]:
        found: list[tuple[str, MailboxRow]] = []
        for account, account_id in self._account_ids.items():
            rows = accounts.mailboxes(conn, account_id=account_id)
            found += [(account, row) for row in rows if row.is_synced and self._takes(row)]
        return sorted(found, key=lambda one: sync_order(one[1].name, one[1].special_use))

    def _takes(self, mailbox: MailboxRow) -> bool:
        return is_selected(mailbox.name, self._config.mailboxes)
