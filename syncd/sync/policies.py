"""Floor 4: what the devices of a configuration take, and what both sides of a replica can hold."""

from collections.abc import Collection, Iterable, Mapping
from typing import Self
from urllib.parse import quote, unquote

from sqlalchemy import Connection

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.model import Config, DeviceConfig, GuardConfig
from syncd.mail.mailbox import MailboxName, SpecialUse, is_selected
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.naming.names import holdable
from syncd.reconcile.deletions import Deletion, ForGood, ToTrash
from syncd.reconcile.guard import Rule
from syncd.reconcile.mailboxes import sync_order
from syncd.reconcile.planner import NOTHING, Policy, Selection
from syncd.store.due.backlog import mailboxes_with_due_stores
from syncd.store.files.uploads import Bringers
from syncd.store.trees.accounts import TRASHES, MailboxRow, left_mailboxes, mailboxes, trash_of
from syncd.store.trees.devices import READ_ONLY, ReplicaRow, device_names, replicas
from syncd.values import Value

_EXPUNGED_FROM = frozenset({SpecialUse.TRASH, SpecialUse.JUNK})
_PLAIN = "!#$&'()*+,/:;<=>?@[\\]^`{|}~\""


def rule_of(guard: GuardConfig) -> Rule:
    """Return how many deletions are too many to be meant."""
    return Rule(count=guard.count, share=guard.share, window_s=guard.window_s)


def selection_of(device: DeviceConfig, *, now: float) -> Selection:
    """Return what a device takes of its mailboxes at this moment."""
    not_before = None if device.max_age_s is None else int(now - device.max_age_s)
    return Selection(not_before, device.max_size_bytes)


def selections_of(config: Config, *, now: float) -> dict[str, Selection]:
    """Return what each device takes of its mailboxes at this moment, by name."""
    return {name: selection_of(one, now=now) for name, one in config.devices.items()}


def selection_text(device: DeviceConfig) -> str:
    """Return the text that changes when a device takes other messages than before, or may write or not."""
    text = f"max_age={device.max_age_s} max_size={device.max_size_bytes}"
    return f"{text} {READ_ONLY}" if device.read_only else text


class Takers:
    """Tell what all devices together take of an account's mailboxes."""

    def __init__(self, config: Config) -> None:
        self._taking = _Taking.of(config)
        self._leaving: dict[str, frozenset[str]] = {}

    def adjust(self, config: Config) -> None:
        """Tell what devices take under this configuration from now on."""
        self._taking = _Taking.of(config)

    @property
    def rule(self) -> Rule:
        """Return which deletions by devices are too many to be believed."""
        return self._taking.rule

    def devices_of(self, account: str) -> tuple[str, ...]:
        """Return the devices that select an account, or were seen to have mail of it that they do not take any more."""
        leaving, taking = self._leaving.get(account, ()), self._taking
        return tuple(name for name in taking.devices if account in taking.accounts[name] or name in leaving)

    def selections(
        self, account: str, mailbox: MailboxName, *, now: float, without: Collection[str] = ()
    ) -> tuple[Selection, ...]:
        """Return what each device that selects this mailbox takes of it; nothing when none does.

        without: devices that take nothing yet.
        """
        taking = self._taking
        return tuple(
            selection_of(device, now=now)
            for name, device in taking.devices.items()
            if taking.takes(name, account, mailbox) and name not in without
        )

    def changed(self, conn: Connection, *, account: str, account_id: int, now: float) -> tuple[MailboxRow, ...]:
        """Return the mailboxes in which devices changed something, or a refused change is due again, in sync order."""
        taking = self._taking
        due = mailboxes_with_due_stores(conn, account_id=account_id, now=now)
        known = replicas(conn, account_id=account_id)
        leaving = {row.mailbox_id for row in known if row.is_leaving}
        news = [row for row in known if row.has_replica_news]
        names = device_names(conn) if leaving or news else {}
        self._leaving[account] = frozenset(names[row.device_id] for row in known if row.is_leaving)
        if not due and not news:
            return ()
        # NOTE: what its server has no more is put back by what a device changed there before it heard of that.
        left = [row for row in left_mailboxes(conn, account_id=account_id) if row.is_gone] if news else []
        found = [
            row
            for row in (*mailboxes(conn, account_id=account_id), *left)
            if row.is_readable
            and (
                (row.id in due and (row.is_synced or row.id in leaving))
                or any(of.mailbox_id == row.id and taking.hears(names[of.device_id], account, row, of) for of in news)
            )
        ]
        return tuple(sorted(found, key=lambda row: sync_order(row.name, row.special_use)))

    def bringable(self, conn: Connection, *, account: str, account_id: int) -> "Bringable":
        """Return whose added files are to be brought to an account, and the mailboxes that take them.

        Of a device that may only read that is what a person has put back.
        """
        taking = self._taking
        names = device_names(conn)
        rows = {row.id: row for row in mailboxes(conn, account_id=account_id) if row.is_readable}
        writing = frozenset(
            of.id
            for of in replicas(conn, account_id=account_id)
            if (row := rows.get(of.mailbox_id)) is not None
            and taking.serves(name := names[of.device_id], account, row, of)
            and (not taking.devices[name].read_only or READ_ONLY in of.selection)
        )
        there = frozenset(id_ for id_, row in rows.items() if row.is_there)
        config = taking.configs[account]
        expunging = (id_ for id_ in there if isinstance(deletion_of(config, rows[id_], rows.values()), ForGood))
        return Bringable(Bringers(writing, there), rows, frozenset(expunging))

    def replicas(
        self, conn: Connection, *, account: str, mailbox: MailboxRow, now: float
    ) -> tuple[tuple[ReplicaRow, Policy], ...]:
        """Return the replicas of a mailbox on the devices that change it, each with what may be planned for it.

        Where a device is giving it up, what it changed before still counts, but nothing that it deleted.
        """
        found: list[tuple[ReplicaRow, Policy]] = []
        of, taking = mailbox.account_id, self._taking
        rows, names, known = replicas(conn, account_id=of), device_names(conn), mailboxes(conn, account_id=of)
        deletion = deletion_of(taking.configs[account], mailbox, known)
        for row in rows:
            name = names[row.device_id]
            if row.mailbox_id != mailbox.id or not taking.hears(name, account, mailbox, row):
                continue
            if row.is_leaving:
                found.append((row, policy_of(row, mailbox, NOTHING)))
            else:
                selection = selection_of(taking.devices[name], now=now)
                found.append((row, policy_of(row, mailbox, selection, deletion=deletion)))
        return tuple(found)

    def devices_with(self, account: str, mailbox: MailboxName) -> tuple[str, ...]:
        """Return the devices that select a mailbox and may change what is in it."""
        taking = self._taking
        return tuple(name for name in taking.devices if taking.writes(name, account, mailbox))

    def writes(self, device: str, account: str, mailbox: MailboxName) -> bool:
        """Tell whether a device selects a mailbox and may change what is in it."""
        return self._taking.writes(device, account, mailbox)

    def takes(self, device: str, account: str, mailbox: MailboxName) -> bool:
        """Tell whether a device selects a mailbox."""
        return self._taking.takes(device, account, mailbox)


class _Taking(Value):
    """What devices take under one configuration.

    NOTE: readers of the store ask on threads of their own, so each goes on with the one with which it began.
    """

    configs: Mapping[str, ImapConfig | Pop3Config]
    devices: Mapping[str, DeviceConfig]
    accounts: Mapping[str, frozenset[str]]
    rule: Rule

    @classmethod
    def of(cls, config: Config) -> Self:
        accounts = {name: frozenset(config.accounts_of(name)) for name in config.devices}
        return cls(config.accounts, config.devices, accounts, rule_of(config.guard))

    def hears(self, device: str, account: str, mailbox: MailboxRow, of: ReplicaRow) -> bool:
        """Tell whether a server hears of what a device changes."""
        return self.serves(device, account, mailbox, of) and not self.devices[device].read_only

    def serves(self, device: str, account: str, mailbox: MailboxRow, of: ReplicaRow) -> bool:
        """Tell whether the files of a replica are known and looked at.

        NOTE: one that is leaving, and selected again, is not before its device has looked at it.
        """
        is_there = mailbox.is_there or mailbox.is_gone  # where it is only a name, no device has files
        is_taken = is_there and mailbox.is_selected and self.takes(device, account, mailbox.name)
        if of.listed_at is None or of.has_left or device not in self.devices:
            return False
        return (of.is_leaving and mailbox.is_selectable) if not is_taken else not of.is_leaving

    def writes(self, device: str, account: str, mailbox: MailboxName) -> bool:
        return self.takes(device, account, mailbox) and not self.devices[device].read_only

    def takes(self, device: str, account: str, mailbox: MailboxName) -> bool:
        return account in self.accounts.get(device, ()) and is_selected(mailbox, self.devices[device].mailboxes)


class Bringable(Value):
    """Say of whom what is added is to be brought, and the mailboxes that are there by their ids.

    expunging: those out of which a deletion is for good.
    """

    of: Bringers
    mailboxes: Mapping[int, MailboxRow]
    expunging: frozenset[int]


def policy_of(
    of: ReplicaRow,
    mailbox: MailboxRow,
    selection: Selection,
    *,
    deletion: Deletion | None = None,
    outgrown: frozenset[int] = frozenset(),
    is_read_only: bool = False,
) -> Policy:
    """Return what a round may plan for one replica; a device's own round deletes nothing on the server."""
    return Policy(
        mailbox.holdable,
        holdable(keyword_map(of.keywords)),
        selection,
        deletion,
        outgrown=outgrown,
        is_read_only=is_read_only,
    )


def deletion_of(account: ImapConfig | Pop3Config, mailbox: MailboxRow, known: Iterable[MailboxRow]) -> Deletion:
    """Return what a deletion in this mailbox becomes, given all mailboxes of its account.

    Out of Trash and Junk it is for good. Without a Trash it is so only where the configuration does not ask for one;
    an account of POP3 has one.
    """
    delete = account.delete if isinstance(account, ImapConfig) else "trash"
    if delete == "expunge" or mailbox.special_use in _EXPUNGED_FROM:
        return ForGood()
    trash = trash_of(known)
    if trash is None:
        return ForGood() if delete is None else ToTrash(None, TRASHES[0])
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
