"""Floor 4: what the devices of a configuration take, and what both sides of a replica can hold."""

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from urllib.parse import quote, unquote

from sqlalchemy import Connection

from syncd.config.model import Config, DeviceConfig, ImapConfig, Pop3Config
from syncd.mail.mailbox import MailboxName, SpecialUse, is_selected
from syncd.maildir.keywords import KeywordMap
from syncd.maildir.names import holdable
from syncd.reconcile.deletions import Deletion, ForGood, ToTrash
from syncd.reconcile.guard import Rule
from syncd.reconcile.mailboxes import sync_order
from syncd.reconcile.planner import Policy, Selection
from syncd.store.accounts import MailboxRow, mailboxes
from syncd.store.database import Database
from syncd.store.devices import ReplicaRow, device_names, replicas
from syncd.store.server_tree import mailboxes_with_due_stores

_TRASHES = ("Trash", "Deleted Items", "Deleted Messages", "INBOX/Trash")
"""What the Trash is called where no mailbox has that use, the likeliest first."""
_EXPUNGED_FROM = frozenset({SpecialUse.TRASH, SpecialUse.JUNK})
_PLAIN = "!#$&'()*+,/:;<=>?@[\\]^`{|}~\""


def selection_of(device: DeviceConfig, *, now: float) -> Selection:
    """Return what a device takes of its mailboxes at this moment."""
    not_before = None if device.max_age_s is None else int(now - device.max_age_s)
    return Selection(not_before, device.max_size_bytes)


def selection_text(device: DeviceConfig) -> str:
    """Return the text that changes when a device takes other messages than before."""
    return f"max_age={device.max_age_s} max_size={device.max_size_bytes}"


class Takers:
    """Tell what all devices together take of an account's mailboxes."""

    def __init__(self, config: Config) -> None:
        self._devices: Mapping[str, DeviceConfig] = config.devices
        self._accounts = {name: frozenset(config.accounts_of(name)) for name in config.devices}
        guard = config.guard
        self.rule = Rule(count=guard.count, share=guard.share, window_s=guard.window_s)
        """Which deletions by devices are too many to be believed."""
        self._configs: Mapping[str, ImapConfig | Pop3Config] = config.accounts

    def devices_of(self, account: str) -> tuple[str, ...]:
        """Return the devices that select an account."""
        return tuple(name for name in self._devices if account in self._accounts[name])

    def selections(
        self, account: str, mailbox: MailboxName, *, now: float, without: Collection[str] = ()
    ) -> tuple[Selection, ...]:
        """Return what each device that selects this mailbox takes of it; nothing when none does.

        without: devices that take nothing yet.
        """
        return tuple(
            selection_of(device, now=now)
            for name, device in self._devices.items()
            if self.takes(name, account, mailbox) and name not in without
        )

    def changed(self, conn: Connection, *, account: str, account_id: int, now: float) -> tuple[MailboxRow, ...]:
        """Return the mailboxes in which devices changed something, or a refused change is due again, in sync order."""
        due = mailboxes_with_due_stores(conn, account_id=account_id, now=now)
        known = replicas(conn, account_id=account_id)
        news = [row for row in known if row.has_replica_news and row.listed_at is not None]
        if not due and not news:
            return ()
        names = device_names(conn)
        found = [
            row
            for row in mailboxes(conn, account_id=account_id)
            if row.is_synced
            and row.is_readable
            and (
                row.id in due
                or any(of.mailbox_id == row.id and self.takes(names[of.device_id], account, row.name) for of in news)
            )
        ]
        return tuple(sorted(found, key=lambda row: sync_order(row.name, row.special_use)))

    async def replicas(
        self, db: Database, account: str, mailbox: MailboxRow, *, now: float
    ) -> tuple[tuple[ReplicaRow, Policy], ...]:
        """Return the replicas of a mailbox on the devices that select it, each with what may be planned for it."""
        found: list[tuple[ReplicaRow, Policy]] = []
        rows = await db.read(partial(replicas, account_id=mailbox.account_id))
        names = await db.read(device_names)
        known = await db.read(partial(mailboxes, account_id=mailbox.account_id))
        deletion = deletion_of(self._configs[account], mailbox, known)
        for row in rows:
            name = names[row.device_id]
            is_looked_at = row.mailbox_id == mailbox.id and row.listed_at is not None
            if is_looked_at and self.takes(name, account, mailbox.name):
                selection = selection_of(self._devices[name], now=now)
                found.append((row, policy_of(row, mailbox, selection, deletion=deletion)))
        return tuple(found)

    def devices_with(self, account: str, mailbox: MailboxName) -> tuple[str, ...]:
        """Return the devices that select a mailbox."""
        return tuple(name for name in self._devices if self.takes(name, account, mailbox))

    def takes(self, device: str, account: str, mailbox: MailboxName) -> bool:
        """Tell whether a device selects a mailbox."""
        return account in self._accounts.get(device, ()) and is_selected(mailbox, self._devices[device].mailboxes)


def policy_of(of: ReplicaRow, mailbox: MailboxRow, selection: Selection, *, deletion: Deletion | None = None) -> Policy:
    """Return what a round may plan for one replica; a device's own round deletes nothing on the server."""
    return Policy(mailbox.holdable, holdable(keyword_map(of.keywords)), selection, deletion)


def deletion_of(account: ImapConfig | Pop3Config, mailbox: MailboxRow, known: Iterable[MailboxRow]) -> Deletion:
    """Return what a deletion in this mailbox becomes, given all mailboxes of its account.

    Out of Trash and Junk it is for good. Without a Trash it is so only where the configuration does not ask for one;
    an account of POP3 has one.
    """
    delete = account.delete if isinstance(account, ImapConfig) else "trash"
    if delete == "expunge" or mailbox.special_use in _EXPUNGED_FROM:
        return ForGood()
    selectable = [row for row in known if row.is_selectable]
    trash = next((row for row in selectable if row.special_use is SpecialUse.TRASH), None)
    if trash is None:
        by_name = {str(row.name): row for row in selectable}
        trash = next((by_name[name] for name in _TRASHES if name in by_name), None)
    if trash is None:
        return ForGood() if delete is None else ToTrash(None, _TRASHES[0])
    return ForGood() if trash.id == mailbox.id else ToTrash(trash.id, str(trash.name))


def keyword_names(keywords: KeywordMap) -> tuple[str, ...]:
    """Return a replica's keyword letters as the store keeps them: `number:keyword`, with %XX for what is no atom."""
    return tuple(f"{number}:{_quoted(name)}" for number, name in keywords.entries)


def keyword_map(names: tuple[str, ...]) -> KeywordMap:
    """Return the letters that `keyword_names` gave these names for; what it did not make is left out."""
    parts = (name.partition(":") for name in names)
    entries = {
        int(number): unquote(name, errors="surrogateescape")
        for number, _, name in parts
        if name and number.isascii() and number.isdecimal()
    }
    return KeywordMap(tuple(sorted(entries.items())))


def _quoted(name: str) -> str:
    # NOTE: a program may list any octets. A keyword that a server takes has none that are quoted, not even %.
    return quote(name, safe=_PLAIN, errors="surrogateescape")
