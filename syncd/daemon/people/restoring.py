"""Floor 5: deleted messages found and brought back, by the daemon or by a command that owns the store itself.

Theory. What a person names is judged in one transaction, and in the same one done as far as the store can do it: the
mailboxes of a POP3 account have it then; what an IMAP server is to get is in the journal, and its account brings it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.errors import MessageError
from email.parser import BytesHeaderParser
from email.policy import default

from sqlalchemy import Connection

from syncd.config.model import Config
from syncd.daemon.people.answers import RestoreLine, RestoreReport, RestoreRequest
from syncd.errors import StoreError, SyncdError, Temper
from syncd.mail.mailbox import INBOX
from syncd.mail.message import HEADER_MAX_BYTES
from syncd.reconcile.recoveries import COMING, Fate, Place, fate_of, group_by_body, home, last_lives, without_trash
from syncd.store.bodies import bodies
from syncd.store.due import recoveries
from syncd.store.due.recoveries import DeletedMessage
from syncd.store.files.restores import put_back
from syncd.store.mailboxes import served_mailboxes
from syncd.store.people.report import account_ids
from syncd.store.trees import accounts, history
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.devices import device_names
from syncd.store.trees.history import PERSON, Happening, Verb
from syncd.values import Value, replace

_LINES_MAX = 1000
_TEXT_MAX = 200


class NotRestorableError(SyncdError):
    """What is named is not known, or nothing can be brought to where it is wanted."""

    def __init__(self, text: str) -> None:
        super().__init__(text, temper=Temper.GIVE_UP)


class _Choice(Value):
    """A message, what becomes of it, and the mailbox that it comes back to; place: of its octets now."""

    message: DeletedMessage
    fate: Fate
    target: MailboxRow
    place: Place | None


def read_deleted(conn: Connection, config: Config, *, wanted: RestoreRequest) -> RestoreReport:
    """Return what `restore` would do."""
    names = _Names.read(conn, config, wanted)
    return _report(conn, names, _chosen(conn, names, wanted), wanted, is_dry=True)


def restore(conn: Connection, config: Config, *, wanted: RestoreRequest, now: float) -> RestoreReport:
    """Bring back what is named and can be; NotRestorableError, and nothing is, where a name means nothing."""
    names = _Names.read(conn, config, wanted)
    choices = _chosen(conn, names, wanted)
    report = _report(conn, names, choices, wanted, is_dry=False)
    by_target: dict[int, list[_Choice]] = defaultdict(list)
    kept: dict[int, list[int]] = defaultdict(list)
    for one in choices:
        if one.fate is Fate.KEPT:
            kept[one.message.row.mailbox_id].append(one.message.row.message_id)
        elif one.fate in COMING:
            by_target[one.target.id].append(one)
    for mailbox_id, message_ids in kept.items():
        put_back(conn, mailbox_id, message_ids, now=now)
    for ones in by_target.values():
        target = ones[0].target
        if names.is_served(target):
            _put(conn, target, ones, now=now)
        else:
            recoveries.want_back(conn, [one.message.row.message_id for one in ones], target, now=now)
    return report


class _Names(Value):
    """What the accounts that are meant have or had: their names, and their mailboxes by id; devices: those served."""

    accounts: Mapping[int, str]
    mailboxes: Mapping[int, MailboxRow]
    devices: frozenset[int]
    served: frozenset[int]

    @classmethod
    def read(cls, conn: Connection, config: Config, wanted: RestoreRequest) -> "_Names":
        if wanted.account is not None and wanted.account not in config.accounts:
            raise NotRestorableError(f"there is no account {wanted.account}")
        known = account_ids(conn)
        chosen = {known[name]: name for name in config.accounts if name in known and wanted.account in {None, name}}
        rows = {row.id: row for id_ in chosen for row in accounts.all_mailboxes(conn, account_id=id_)}
        devices = frozenset(id_ for id_, name in device_names(conn).items() if name in config.devices)
        return cls(chosen, rows, devices, served_mailboxes.served_accounts(conn))

    @property
    def drafts(self) -> frozenset[int]:
        return frozenset(row.id for row in self.mailboxes.values() if row.is_drafts)

    def named(self, name: str) -> tuple[MailboxRow, ...]:
        """Return the mailboxes of this name, with or without an account before it; those that are there first."""
        found = [row for row in self.mailboxes.values() if name in {str(row.name), self.place_of(row)}]
        return tuple(sorted(found, key=lambda row: row.is_gone))

    def place_of(self, row: MailboxRow) -> str:
        return f"{self.accounts[row.account_id]}/{row.name}"

    def of_account(self, account_id: int) -> tuple[MailboxRow, ...]:
        return tuple(row for row in self.mailboxes.values() if row.account_id == account_id)

    def trash_of(self, account_id: int) -> int | None:
        trash = accounts.trash_of(row for row in self.of_account(account_id) if not row.is_gone)
        return None if trash is None else trash.id

    def is_served(self, row: MailboxRow) -> bool:
        return row.account_id in self.served


def _chosen(conn: Connection, names: _Names, wanted: RestoreRequest) -> list[_Choice]:
    found = _named(conn, names, wanted) if wanted.messages else _searched(conn, names, wanted)
    lives = recoveries.lives_of(conn, found)
    choices: list[_Choice] = []
    for account_id, messages in _by_account(found).items():
        trash_id = names.trash_of(account_id)
        body_ids = {one.row.body_id for one in messages if one.row.body_id is not None}
        there = group_by_body(recoveries.places_of(conn, account_id, body_ids))
        arriving = recoveries.arriving(conn, account_id)
        taken: set[int] = set()
        for one in messages:
            body_id = one.row.body_id or 0
            to = home(one.row, lives.get(account_id, {}).get(body_id, ()), trash_id=trash_id)
            target = _target(names, one, to, wanted.to)
            left = [place for place in there.get(body_id, ()) if place.message_id not in taken]
            is_elsewhere = wanted.to is not None and target.id != to
            row = replace(one.row, is_underway=one.row.is_underway or (target.id, body_id) in arriving)
            fate, place = fate_of(row, left, trash_id=trash_id, to_id=target.id, is_elsewhere=is_elsewhere)
            taken |= {place.message_id} if fate is Fate.MOVED and place is not None else set()
            if fate in COMING and not target.is_selected:
                raise NotRestorableError(
                    f"{names.place_of(target)} is not synced: name another mailbox by --to, or let the account take it"
                )
            choices.append(_Choice(one, fate, target, place))
    return sorted(choices, key=lambda one: (one.message.row.gone_at or 0.0, one.message.row.message_id))


def _named(conn: Connection, names: _Names, wanted: RestoreRequest) -> Sequence[DeletedMessage]:
    found: dict[int, DeletedMessage] = {}
    for name in wanted.messages:
        rows = recoveries.named(conn, name, account_ids=names.accounts, devices=names.devices, drafts=names.drafts)
        if not rows:
            raise NotRestorableError(f"there is no message {name}; syncd history tells their numbers")
        last = rows if len(rows) == 1 else _last(conn, names, rows)
        found |= {one.row.message_id: one for one in last}
    return [
        found[row.message_id]
        for account_id, ones in _by_account(found.values()).items()
        for row in without_trash((one.row for one in ones), trash_id=names.trash_of(account_id))
    ]


def _searched(conn: Connection, names: _Names, wanted: RestoreRequest) -> Sequence[DeletedMessage]:
    rows = None if wanted.mailbox is None else names.named(wanted.mailbox)
    if rows == ():
        raise NotRestorableError(f"there is no mailbox {wanted.mailbox}, and none that was deleted is known")
    found = recoveries.search(
        conn,
        account_ids=names.accounts,
        devices=names.devices,
        mailbox_ids=None if rows is None else [row.id for row in rows],
        drafts=names.drafts,
        since=wanted.since,
    )
    return _last(conn, names, found)


def _last(conn: Connection, names: _Names, found: Sequence[DeletedMessage]) -> Sequence[DeletedMessage]:
    """Return those of these rows that tell where messages were last."""
    lives, last = recoveries.lives_of(conn, found), set[int]()
    for account_id, ones in _by_account(found).items():
        rows = (one.row for one in ones)
        kept = last_lives(rows, lives.get(account_id, {}), trash_id=names.trash_of(account_id))
        last |= {one.message_id for one in kept}
    return tuple(one for one in found if one.row.message_id in last)


def _by_account(found: Iterable[DeletedMessage]) -> Mapping[int, Sequence[DeletedMessage]]:
    by_account: dict[int, list[DeletedMessage]] = defaultdict(list)
    for one in found:
        by_account[one.account_id].append(one)
    return by_account


def _target(names: _Names, one: DeletedMessage, home_id: int | None, to: str | None) -> MailboxRow:
    """Return the mailbox that a message comes back to: that which is named, else its own, else INBOX."""
    known = names.of_account(one.account_id)
    if to is not None:
        found = [row for row in names.named(to) if row.account_id == one.account_id]
        if not found:
            raise NotRestorableError(f"there is no mailbox {to} in account {names.accounts[one.account_id]}")
        return found[0]
    if home_id is not None:
        return names.mailboxes[home_id]
    return next((row for row in known if row.name == INBOX), names.mailboxes[one.row.mailbox_id])


def _put(conn: Connection, target: MailboxRow, ones: Sequence[_Choice], *, now: float) -> None:
    """Put messages into a mailbox of which the store is the server, made again if need be."""
    served_mailboxes.ensure_mailbox(conn, target.account_id, target.name, target.special_use, now=now, origin=PERSON)
    moved = [one.place.message_id for one in ones if one.fate is Fate.MOVED and one.place is not None]
    copies = served_mailboxes.old_copies_of(conn, [*moved, *(one.message.row.message_id for one in ones)])
    sources = [
        one.place.message_id if one.fate is Fate.MOVED and one.place else one.message.row.message_id for one in ones
    ]
    made = served_mailboxes.put_messages(conn, target.id, [copies[id_] for id_ in sources if id_ in copies], now=now)
    served_mailboxes.take_out(conn, moved, now=now)
    told = [Happening(Verb.RESTORE, message_id) for message_id in made]
    history.tell(conn, told, now=now, origin=PERSON, mailbox_id=target.id)


def _report(
    conn: Connection, names: _Names, choices: Sequence[_Choice], wanted: RestoreRequest, *, is_dry: bool
) -> RestoreReport:
    counts = Counter(one.fate.value for one in choices)
    # NOTE: of a whole mailbox all that was ever moved out of it is there, and all that was ever deleted is swept.
    told = [one for one in choices if wanted.messages or one.fate in COMING or one.fate is Fate.UNDERWAY]
    lines = tuple(_lines(conn, names, told[-_LINES_MAX:]))
    return RestoreReport(lines, dict(counts), is_dry, len(lines) == len(told))


def _lines(conn: Connection, names: _Names, choices: Sequence[_Choice]) -> Iterator[RestoreLine]:
    for one in choices:
        row = one.message.row
        sender, subject = _heading(conn, row.body_id)
        yield RestoreLine(
            message=row.message_id,
            account=names.accounts[one.message.account_id],
            mailbox=str(names.mailboxes[row.mailbox_id].name),
            to=str(one.target.name),
            fate=one.fate.value,
            there=None if one.place is None else str(names.mailboxes[one.place.mailbox_id].name),
            deleted_at=row.gone_at,
            size_bytes=one.message.size_bytes,
            sender=sender,
            subject=subject,
        )


def _heading(conn: Connection, body_id: int | None) -> tuple[str, str]:
    """Return From and Subject of a body, for the person alone who asks; empty where there is nothing to read."""
    if body_id is None:
        return "", ""
    try:
        octets = bodies.read_begin(conn, body_id)
        header = BytesHeaderParser(policy=default).parsebytes(octets[:HEADER_MAX_BYTES].partition(b"\r\n\r\n")[0])
        return str(header.get("From", ""))[:_TEXT_MAX], str(header.get("Subject", ""))[:_TEXT_MAX]
    except (StoreError, MessageError, ValueError, LookupError, AttributeError, IndexError):
        return "", ""  # NOTE: the parser of the standard library stumbles over what nobody should have sent
