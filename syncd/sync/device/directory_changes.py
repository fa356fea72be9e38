"""Floor 4: the mailbox directories that programs make and remove on one device, and what its accounts do by that.

Theory (law 2). A directory proves nothing when it is seen, or missed, once: a program may be in the middle of its work.
So a look at the whole root says which directories are those of no mailbox, and which mailboxes have none any more, and
only what a second look says as well, once nothing else came or went for `settle`, is concluded: a row that names the
mailbox is committed, and its account does the rest. A mailbox is removed only where nothing at all has the name of its
directory, or what has it is only around others, nothing around it is empty (a disk may be mounted there at other
times), the root is proven by its marker, and the account's INBOX is there; without its cur/ it is a mailbox that stands
still, and so is one that programs rely on. Meanwhile nobody reads or writes there. The files of a removed one are
missing, which again proves nothing until the second look of files. Where a device may only read, a directory that went
is made again, and one that came is nobody's. Where nobody has looked since the root came from a backup, or since
somebody renamed the directory of whom there is no record, nothing was deleted: what is missing is made again. So is a
removed one whose directory is there again, but as no mailbox: as one around others that were made inside, and removed.
One that went while its mailbox was being made is not made again: it gets a replica without a directory, and is removed
like any.
"""

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath

from sqlalchemy import Connection

from syncd.config.model import DeviceConfig
from syncd.errors import FileError
from syncd.log import log
from syncd.mail.mailbox import MailboxName, is_selected, to_wire
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.layout import without_utf7
from syncd.maildir.naming.misnamed import Misnamed, misnamed
from syncd.maildir.news.observe import list_mailbox
from syncd.reconcile.guard import Rule
from syncd.reconcile.moved_directories import WentDirectory, moved_directories
from syncd.store.engine.database import Database
from syncd.store.files import adoption
from syncd.store.mailboxes import mailbox_changes, mailbox_removals
from syncd.store.mailboxes.mailbox_changes import ChangeKind, ChangeState, MailboxChange
from syncd.store.trees import replica_tree
from syncd.store.trees.devices import ReplicaRow
from syncd.sync.activity import Activity
from syncd.sync.device.absent_directories import is_absent, is_unknown, left_bare, may_go, without_anchor
from syncd.sync.device.attachment import Prove
from syncd.sync.device.known_mailboxes import KnownMailboxes, Served
from syncd.sync.device.mailboxes import DeviceMailboxes, Place
from syncd.sync.device.standstill import Standstill
from syncd.values import Value


class _Known(Value):
    """What the store has of a device and its accounts.

    directories: those of replicas. looked_at: those in which somebody looks. names: of all mailboxes. synced: which
    mailbox has a name, of those that are. delimiters: of accounts whose mailboxes are known.
    """

    directories: frozenset[str]
    looked_at: frozenset[str]
    names: frozenset[Place]
    synced: Mapping[Place, int]
    delimiters: Mapping[str, str | None]
    changes: tuple[MailboxChange, ...]
    served: Sequence[Served]


class _Look(Value):
    """What one look at the root says: directories in which nobody has looked, and mailboxes that have none.

    absent: those of the latter that have nothing in its place; gone: of these, those of which something follows. taken:
    those of the former that have the name of a mailbox whose own directory is elsewhere. misnamed: directories that no
    mailbox can be called.
    """

    unlooked: Mapping[Place, str]
    taken: frozenset[Place]
    absent: frozenset[int]
    gone: frozenset[int]
    misnamed: tuple[Misnamed, ...]


class DirectoryChanges:
    """Know which directories of one device came and went, and since when; for its task."""

    def __init__(
        self,
        db: Database,
        config: DeviceConfig,
        mailboxes: DeviceMailboxes,
        *,
        account_ids: Mapping[str, int],
        prover: Callable[[], Awaitable[Prove]],
        activity: Activity,
        clock: Callable[[], float],
        rule: Rule,
    ) -> None:
        """Call `prover` before each look for what proves the root as it is to be by then."""
        self._db = db
        self._config = config
        self._mailboxes = mailboxes
        self._account_ids = account_ids
        self._names = {id_: name for name, id_ in account_ids.items()}
        self._prover = prover
        self._activity = activity
        self._clock = clock
        self._rule = rule
        self._since: dict[Place | int, float] = {}
        self._unlooked: Mapping[Place, int | None] = {}
        self._hopeless: Mapping[Place, str] = {}

    @property
    def is_busy(self) -> bool:
        """Tell whether something is to be concluded, or waited for."""
        return bool(self._since or self._unlooked or self._mailboxes.unmade)

    def has_unlooked(self, account: str, still: Standstill) -> bool:
        """Tell whether there are directories that will be mailboxes of an account, and in which nobody has looked.

        What went from others may have been moved there. One that stands still holds nothing up.
        """
        return any(place[0] == account and (id_ is None or id_ not in still) for place, id_ in self._unlooked.items())

    async def names_elsewhere(self, account: str) -> frozenset[str]:
        """Return the names of the files in directories that will be no mailboxes of an account."""
        directories = [PurePosixPath(one) for place, one in self._hopeless.items() if place[0] == account]
        return await asyncio.to_thread(self._file_names, directories) if directories else frozenset()

    async def removed(self, device_id: int) -> Sequence[Served]:
        """Return the mailboxes whose directories were removed, if that is concluded and the device has them still."""
        return await self._mailboxes.removed(device_id)

    def wait_s(self) -> float | None:
        """Return the time until what came and went may be concluded from, None when nothing did."""
        if not self._since:
            return None
        now = asyncio.get_running_loop().time()
        return max(max(self._since.values()) + self._config.settle_s - now, 0.0)

    async def look(self, device_id: int) -> None:
        """Look which directories there are, and forget what was wanted because of one that came or went."""
        await self._look(device_id)

    async def run(self, device_id: int, still: Standstill, accounts: set[str], *, at_once: bool = False) -> None:
        """Look again once it is time, and add the accounts that have something to do by what is still so.

        at_once: somebody who asks for it says that no program is in the middle of its work.
        """
        if not self._since or (self.wait_s() != 0.0 and not at_once):
            if self._unlooked or self._mailboxes.unmade:
                await self._look(device_id)  # it may have been looked at by now, or compared with its server
            return
        before = self._since.keys()
        known = await self._look(device_id)
        if self._since.keys() - before:
            return
        gone = [one for one in known.served if one.mailbox.id in self._since]
        unknown = [one for one in gone if is_unknown(one)]
        for one in unknown:
            with still.guard(one.mailbox.id, one.where):
                await self._mailboxes.restore(one)
                accounts.add(one.account)
                log.info("directory_made_again", replica=one.replica.directory)
        gone = [one for one in gone if one not in unknown]
        moved = {} if self._config.read_only else await self._moved(known, gone)
        came = {(one.account, moved[one.mailbox.id]) for one in gone if one.mailbox.id in moved}
        made = sorted(key for key in self._since if not isinstance(key, int) and key not in came)
        made = [] if self._config.read_only else made
        if made or gone:
            record = partial(self._record, device_id=device_id, made=made, gone=gone, moved=moved, known=known)
            accounts.update(account for account, _ in made)
            accounts.update(one.account for one in gone)
            await self._db.write(record)
            self._mailboxes.made.update(made)
            log.info("directories_concluded", made=len(made), renamed=len(moved), removed=len(gone) - len(moved))
        self._since = {}
        await self._look(device_id)

    async def give_back(
        self, device_id: int, still: Standstill, *, follow: Callable[[], Awaitable[None]]
    ) -> Sequence[ReplicaRow]:
        """Let the device have mailboxes again, and return their replicas; the directories of removed ones are made.

        Call `follow` for what lets directories have the names of their mailboxes.
        """
        changes = await self._mailboxes.changes(device_id)
        returned = {one.mailbox_id: one for one in changes if one.state is ChangeState.RETURNED}
        if not returned:
            return ()
        await follow()
        restored: list[ReplicaRow] = []
        for one in await self._mailboxes.all_served(device_id):
            change = returned.pop(one.mailbox.id, None)
            if change is None or one.mailbox.id in still:
                continue
            with still.guard(one.mailbox.id, one.where):
                if change.kind is ChangeKind.REMOVE:
                    await self._mailboxes.restore(one)
                await self._db.write(partial(mailbox_removals.take_back, change=change))
                self._mailboxes.unlooked |= _renamed([change])
                restored.append(one.replica)
                log.info("directory_came_back", replica=one.replica.directory)
        if returned:  # the device has nothing of these any more
            await self._db.write(partial(mailbox_removals.forget, changes=tuple(returned.values())))
        await self._look(device_id)
        return restored

    def _record(
        self,
        conn: Connection,
        *,
        device_id: int,
        made: Iterable[Place],
        gone: Sequence[Served],
        moved: Mapping[int, MailboxName],
        known: _Known,
    ) -> None:
        now = self._clock()
        for account, name in made:
            mailbox_changes.want_mailbox(
                conn,
                account_id=self._account_ids[account],
                device_id=device_id,
                name=name,
                error=_why_not(name, known.delimiters[account]),
                now=now,
            )
        for one in gone:
            if one.mailbox.id in moved:
                to = moved[one.mailbox.id]
                mailbox_changes.want_rename(conn, one.replica, account_id=one.mailbox.account_id, name=to, now=now)
        removed = [one.replica for one in gone if one.mailbox.id not in moved]
        mailbox_removals.remove(conn, removed, now=now, window_s=self._rule.window_s)
        for of in removed if self._config.read_only else ():
            mailbox_removals.give_back(conn, mailbox_id=of.mailbox_id, device_id=of.device_id)

    async def _moved(self, known: _Known, gone: Sequence[Served]) -> Mapping[int, MailboxName]:
        """Return the new names of those mailboxes whose directories were renamed.

        What its server has no more cannot be renamed there: then the one was removed, and the other was made.
        """
        moved: dict[int, MailboxName] = {}
        for account in {one.account for one in gone}:
            came = [key[1] for key in self._since if not isinstance(key, int) and key[0] == account]
            came = [name for name in came if _why_not(name, known.delimiters[account]) is None]
            files = {
                name: await asyncio.to_thread(self._file_names, [self._mailboxes.layout.directory(account, name)])
                for name in came
            }
            went = [
                WentDirectory(
                    one.mailbox.id,
                    one.mailbox.name,
                    frozenset(await self._db.read(partial(replica_tree.places, replica_id=one.replica.id))),
                )
                for one in gone
                if one.account == account and one.mailbox.is_there
            ]
            moved |= moved_directories(went, files, [name for owner, name in known.names if owner == account])
        return moved

    async def _look(self, device_id: int) -> _Known:
        """Look at the root, note since when it is as it is, and return what it was compared with."""
        known = self._known(await self._mailboxes.known(device_id))
        seen = await asyncio.to_thread(self._directories, known, await self._prover())
        # NOTE: that of a mailbox that its server has no more is a replica's still, and makes nothing anew.
        made = {place for place, directory in seen.unlooked.items() if directory not in known.directories}
        wanted = {
            (self._names[one.account_id], one.name): one for one in known.changes if one.kind is not ChangeKind.REMOVE
        }
        removed = {one.mailbox_id: one for one in known.changes if one.mailbox_id is not None}
        if await self._make_again(known, removed):
            return await self._look(device_id)
        now = asyncio.get_running_loop().time()
        keys: set[Place | int] = {*(made - known.names - wanted.keys()), *(seen.gone - removed.keys())}
        self._since = {key: self._since.get(key, now) for key in keys}
        self._mailboxes.unmade &= seen.absent - seen.gone
        self._mailboxes.absent = seen.gone | self._mailboxes.unmade
        self._activity.left_alone = seen.misnamed
        for directory in self._activity.odd_files.keys() - known.directories:
            del self._activity.odd_files[directory]
        hopeless = seen.taken.union(
            place for place, one in wanted.items() if one.error or one.state is ChangeState.LEFT
        )
        self._unlooked = {
            place: known.synced.get(place)
            for place in seen.unlooked
            if place not in hopeless and (place in known.synced or place not in known.names)
        }
        self._hopeless = {place: directory for place, directory in seen.unlooked.items() if place in hopeless}
        over = [one for place, one in wanted.items() if place not in seen.unlooked]
        over += [one for mailbox_id, one in removed.items() if mailbox_id not in seen.gone]
        if over := [one for one in over if one.state is ChangeState.WANTED]:
            await self._db.write(partial(mailbox_removals.forget, changes=over))
            self._mailboxes.unlooked |= _renamed(over)
        makes = {place: one for place, one in wanted.items() if one.kind is ChangeKind.MAKE and one not in over}
        made = {place for place, one in makes.items() if one.state is not ChangeState.LEFT}
        made |= self._mailboxes.made & known.names
        self._mailboxes.made = made - {(one.account, one.mailbox.name) for one in known.served}
        return known

    async def _make_again(self, known: _Known, removed: Mapping[int, MailboxChange]) -> bool:
        """Make removed mailboxes again whose directories are there as none, and those that are missing inside.

        Tell whether there were any. Each was seen to be absent, so it is not where a disk may be mounted; but what of
        it was removed nobody knows any more.
        """
        wanted = {id_ for id_, one in removed.items() if one.is_removal and one.state is ChangeState.WANTED}
        if not wanted:
            return False
        again = await asyncio.to_thread(left_bare, self._config.path, await self._prover(), known.served, wanted)
        if again:
            ids = [one.replica.id for one in again]
            await self._db.write(partial(adoption.doubt_replicas, replica_ids=ids))  # before they have nothing in them
        made = 0
        for one in again:
            with suppress(FileError):  # its own look tells of it
                await self._mailboxes.restore(one)
                log.info("directory_made_again", replica=one.replica.directory)
                made += 1
        return made > 0

    def _known(self, rows: KnownMailboxes) -> _Known:
        mine = (row for row in rows.mailboxes if row.account_id in self._names)
        listed = [(self._names[row.account_id], row) for row in mine if not row.is_gone]
        names = {(account, row.name) for account, row in listed if row.is_selectable}
        synced = {(account, row.name): row.id for account, row in listed if row.is_synced}
        # NOTE: no server is without an INBOX: before it is known, nothing is.
        delimiters = {account: row.delimiter for account, row in listed if row.name.is_inbox}
        renamed = _renamed(rows.changes)  # what comes and goes there meanwhile is not seen
        looked_at = (one for one in rows.replicas if one.listed_at is not None and one.mailbox_id not in renamed)
        return _Known(
            frozenset(one.directory for one in rows.replicas),
            frozenset(one.directory for one in looked_at),
            frozenset(names),
            synced,
            delimiters,
            tuple(one for one in rows.changes if one.account_id in self._names),
            rows.served(),
        )

    def _directories(self, known: _Known, prove: Prove) -> _Look:
        with ReplicaRoot(self._config.path) as root:
            prove(root)
            there = frozenset(map(str, root.directories()))
            missing = [one for one in known.served if one.replica.directory not in there]
            absent = frozenset(one.mailbox.id for one in missing if is_absent(root, one, self._mailboxes.layout))
            gone = {one.mailbox.id for one in missing if one.mailbox.id in absent and may_go(one)}
            gone -= without_anchor(root, known.served, gone)
            prove(root)  # by the same descriptor: what is missing is so in a root that is ours
        unlooked: dict[Place, str] = {}
        for directory in sorted(there - known.looked_at):
            place = self._mailboxes.layout.mailbox(PurePosixPath(directory))
            if place is None or place[0] not in known.delimiters or _is_other_spelling(place, known.names):
                continue
            if is_selected(place[1], self._config.mailboxes):
                unlooked[place] = directory
        own = {one.mailbox.id: one.replica.directory for one in known.served if one.replica.directory in there}
        synced = {place: known.synced[place] for place in unlooked if place in known.synced}
        taken = frozenset(place for place, id_ in synced.items() if own.get(id_, unlooked[place]) != unlooked[place])
        wrong = misnamed(
            self._mailboxes.layout, self._config.layout.value, map(PurePosixPath, sorted(there - known.directories))
        )
        return _Look(unlooked, taken, absent, frozenset(gone), tuple(wrong))

    def _file_names(self, directories: Iterable[PurePosixPath]) -> frozenset[str]:
        names: set[str] = set()
        with ReplicaRoot(self._config.path) as root:
            for directory in directories:
                with suppress(FileError):
                    names |= {file.name for file in list_mailbox(root, directory).files}
        return frozenset(names)


def _renamed(changes: Iterable[MailboxChange]) -> frozenset[int]:
    """Return the mailboxes that these changes rename."""
    renames = (one for one in changes if one.kind is ChangeKind.RENAME)
    return frozenset(one.mailbox_id for one in renames if one.mailbox_id is not None)


def _is_other_spelling(place: Place, names: Container[Place]) -> bool:
    """Tell whether a directory has the name of a mailbox as an older program writes it: then it is no new one."""
    account, name = place
    meant = without_utf7(name)
    return meant is not None and place not in names and (account, meant) in names


def _why_not(name: MailboxName, delimiter: str | None) -> str | None:
    """Return why a server cannot have a mailbox of this name, None if it can; a directory can stand for any."""
    try:
        to_wire(name, delimiter)
    except ValueError as error:
        return str(error)
    return None
