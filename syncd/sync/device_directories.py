"""Floor 4: the mailbox directories that programs make on one device, and what its accounts are to do by that.

Theory. A directory proves nothing when it is seen once: a program may be in the middle of making it. So a look at the
whole root says which directories are those of no mailbox, and only what a second look sees as well, once nothing else
came or went for `settle`, is concluded: a row that names the mailbox is committed, and its account does the rest. From
then on the mailbox is one like others: its replica is made over the directory, and its files are the device's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass

from sqlalchemy import Connection

from syncd.config.model import DeviceConfig
from syncd.log import log
from syncd.mail.mailbox import MailboxName, is_selected, to_wire
from syncd.maildir.root import ReplicaRoot
from syncd.store import accounts, devices, mailbox_changes
from syncd.store.database import Database
from syncd.store.mailbox_changes import ChangeKind, ChangeState, MailboxChange
from syncd.sync.attachment import Prove
from syncd.sync.device_mailboxes import DeviceMailboxes

Place = tuple[str, MailboxName]
"""An account and a mailbox of it."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the store has of a device and its accounts.

    directories: those of replicas. looked_at: those in which somebody looked. delimiters: of accounts whose mailboxes
    are known.
    """

    directories: frozenset[str]
    looked_at: frozenset[str]
    names: frozenset[Place]
    delimiters: Mapping[str, str | None]
    changes: tuple[MailboxChange, ...]


class DeviceDirectories:
    """Know which directories of one device are those of no mailbox, and since when; for its task."""

    def __init__(
        self,
        db: Database,
        config: DeviceConfig,
        mailboxes: DeviceMailboxes,
        *,
        account_ids: Mapping[str, int],
        prover: Callable[[], Awaitable[Prove]],
        clock: Callable[[], float],
    ) -> None:
        """Call `prover` before each look for what proves the root as it is to be by then."""
        self._db = db
        self._config = config
        self._mailboxes = mailboxes
        self._account_ids = account_ids
        self._names = {id_: name for name, id_ in account_ids.items()}
        self._prover = prover
        self._clock = clock
        self._since: dict[Place, float] = {}
        self._unlooked: Set[Place] = frozenset()

    def has_unlooked(self, account: str) -> bool:
        """Tell whether there are directories that will be mailboxes of an account, and in which nobody has looked.

        What went from others may have been moved there.
        """
        return any(place[0] == account for place in self._unlooked)

    @property
    def is_busy(self) -> bool:
        """Tell whether something is to be concluded, or waited for."""
        return bool(self._since or self._unlooked)

    def wait_s(self) -> float | None:
        """Return the time until what came may be concluded from, None when nothing did."""
        if not self._since:
            return None
        now = asyncio.get_running_loop().time()
        return max(max(self._since.values()) + self._config.settle_s - now, 0.0)

    async def look(self, device_id: int) -> None:
        """Look which directories there are, and forget what was wanted because of one that went."""
        await self._look(device_id)

    async def run(self, device_id: int) -> frozenset[str]:
        """Look again once it is time, and return the accounts that have something to do by what is there still."""
        if self.wait_s() != 0.0:
            if self._unlooked:
                await self._look(device_id)  # it may have been looked at by now
            return frozenset()
        before = self._since.keys()
        known = await self._look(device_id)
        if self._since.keys() - before:
            return frozenset()
        made = {place: _why_not(place[1], known.delimiters[place[0]]) for place in sorted(self._since)}
        self._since = {}
        if not made:
            return frozenset()

        def want(conn: Connection) -> None:
            for (account, name), error in made.items():
                mailbox_changes.want_mailbox(
                    conn,
                    account_id=self._account_ids[account],
                    device_id=device_id,
                    name=name,
                    error=error,
                    now=self._clock(),
                )

        await self._db.write(want)
        log.info("mailboxes_wanted", count=len(made))
        return frozenset(account for account, _ in made)

    async def _look(self, device_id: int) -> _Known:
        """Look at the root, note since when what is new there is there, and return what it was compared with."""
        known = await self._db.read(lambda conn: self._known(conn, device_id))
        unlooked = await asyncio.to_thread(self._directories, known, await self._prover())
        # NOTE: that of a mailbox that its server has no more is a replica's still, and makes nothing anew.
        there = (
            frozenset(place for place, directory in unlooked.items() if directory not in known.directories)
            - known.names
        )
        wanted = {(self._names[one.account_id], one.name): one for one in known.changes if one.kind is ChangeKind.MAKE}
        now = asyncio.get_running_loop().time()
        self._since = {place: self._since.get(place, now) for place in there - wanted.keys()}
        hopeless = {place for place, one in wanted.items() if one.error or one.state is ChangeState.LEFT}
        self._unlooked = unlooked.keys() - hopeless
        over = [one.id for place, one in wanted.items() if place not in there and one.state is ChangeState.WANTED]
        if over:
            await self._db.write(lambda conn: mailbox_changes.drop(conn, over))
        return known

    def _known(self, conn: Connection, device_id: int) -> _Known:
        names: set[Place] = set()
        delimiters: dict[str, str | None] = {}
        for account, id_ in self._account_ids.items():
            rows = accounts.mailboxes(conn, account_id=id_)
            names |= {(account, row.name) for row in rows if row.is_selectable}
            inbox = next((row for row in rows if row.name.is_inbox), None)
            if inbox is not None:  # which no server is without: before it is known, nothing is
                delimiters[account] = inbox.delimiter
        replicas = devices.replicas(conn, device_id=device_id)
        return _Known(
            frozenset(one.directory for one in replicas),
            frozenset(one.directory for one in replicas if one.listed_at is not None),
            frozenset(names),
            delimiters,
            tuple(
                one
                for one in mailbox_changes.mailbox_changes(conn, device_id=device_id)
                if one.account_id in self._names
            ),
        )

    def _directories(self, known: _Known, prove: Prove) -> Mapping[Place, str]:
        """Return the mailboxes that directories of the root stand for, and in which nobody has looked."""
        with ReplicaRoot(self._config.path) as root:
            prove(root)
            found = {str(one): self._mailboxes.layout.mailbox(one) for one in root.directories()}
        return {
            place: directory
            for directory, place in found.items()
            if place is not None
            and place[0] in known.delimiters
            and directory not in known.looked_at
            and is_selected(place[1], self._config.mailboxes)
        }


def _why_not(name: MailboxName, delimiter: str | None) -> str | None:
    """Return why a server cannot have a mailbox of this name, None if it can; a directory can stand for any."""
    try:
        to_wire(name, delimiter)
    except ValueError as error:
        return str(error)
    return None
