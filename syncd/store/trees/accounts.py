"""Floor 3: accounts and their mailboxes as rows: who they are, how far they are read, what went wrong."""

from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, exists, insert, or_, select, update

from syncd.errors import StoreError, Temper
from syncd.mail.flags import SYSTEM, Flags, format_flags, parse_flags
from syncd.mail.mailbox import MailboxName, SpecialUse
from syncd.mail.tree import Holdable
from syncd.reconcile.mailboxes import Listed
from syncd.store.engine.queries import is_listed, is_one_of
from syncd.store.tables.schema import account, journal, mailbox, replica
from syncd.values import Value

TRASHES = ("Trash", "Deleted Items", "Deleted Messages", "INBOX/Trash")
"""What the Trash is called where no mailbox has that use, the likeliest first."""
_DRAFTS = ("Drafts", "INBOX/Drafts")


class MailboxCursor(Value):
    """Hold how far a mailbox has been read, as its server counts (RFC 3501 §2.3.1, RFC 7162 §3.1).

    highestmodseq: None where the server keeps no mod-sequences for this mailbox. permanent_flags: None while unknown.
    """

    uidvalidity: int
    uidnext: int
    highestmodseq: int | None
    exists_count: int
    permanent_flags: Flags | None = None
    accepts_keywords: bool = False


class MailboxRow(Value):
    """A mailbox of an account. is_listed: every row has been in the tree once; cursor means nothing before.

    is_gone: its server does not list it any more, and so it was twice.
    """

    id: int
    account_id: int
    name: MailboxName
    wire_name: bytes
    delimiter: str | None
    special_use: SpecialUse | None
    is_selectable: bool
    is_selected: bool
    is_listed: bool
    version: int
    cursor: MailboxCursor
    attributes: frozenset[str]
    error: str | None
    object_id: str | None = None
    is_gone: bool = False

    @property
    def is_there(self) -> bool:
        """Tell whether the server has it, and not only its name."""
        return self.is_selectable and not self.is_gone

    @property
    def is_synced(self) -> bool:
        return self.is_there and self.is_selected

    @property
    def is_readable(self) -> bool:
        """Tell whether what is recorded of it names messages of the server; else it is to be read anew first."""
        return self.is_listed and self.cursor.uidvalidity > 0

    @property
    def is_drafts(self) -> bool:
        """Tell whether drafts are kept here, by its use, or by its name where the server tells no uses."""
        return self.special_use is SpecialUse.DRAFTS or (self.special_use is None and str(self.name) in _DRAFTS)

    @property
    def holdable(self) -> Holdable:
        """Return the flags that can be stored here; where the server did not say, any (RFC 3501 §7.1)."""
        return _holdable(self.cursor.permanent_flags, accepts_keywords=self.cursor.accepts_keywords)


def ensure_account(conn: Connection, name: str, *, kind: str, identity: str) -> int:
    """Return the id of the account called `name`, which is made if need be.

    identity: a digest of host and user. StoreError if the account has another one: its mail belongs to somebody else.
    """
    row = conn.execute(select(account).where(account.c.name == name)).one_or_none()
    if row is None:
        made = insert(account).values(name=name, kind=kind, identity=identity).returning(account.c.id)
        return int(conn.execute(made).scalar_one())
    if (row.kind, row.identity) != (kind, identity):
        raise StoreError(
            "it is another server or user than the one that the mail of this account came from; "
            "give the new one another name, or put type, host and username back",
            temper=Temper.GIVE_UP,
        )
    return int(row.id)


def account_names(conn: Connection, *, kind: str, identity: str) -> tuple[str, ...]:
    """Return the names of the accounts that are this server and user."""
    query = select(account.c.name).where(account.c.kind == kind, account.c.identity == identity)
    return tuple(conn.execute(query.order_by(account.c.id)).scalars())


def id_of(conn: Connection, name: str) -> int | None:
    """Return the id of the account of this name, None where the store has none."""
    return conn.execute(select(account.c.id).where(account.c.name == name)).scalar_one_or_none()


def is_account(conn: Connection, name: str) -> bool:
    """Tell whether the store has an account of this name."""
    return conn.execute(select(account.c.id).where(account.c.name == name)).first() is not None


def never_read(conn: Connection, names: Iterable[str]) -> tuple[str, ...]:
    """Return which of these accounts have never listed their mailboxes, nor ended a round well."""
    is_read = or_(account.c.listed_at.is_not(None), account.c.succeeded_at.is_not(None))
    known = set(conn.execute(select(account.c.name).where(is_read)).scalars())
    return tuple(name for name in names if name not in known)


def rename_account(conn: Connection, name: str, to: str) -> None:
    """Give an account another name, which none has; the directories of its mailboxes follow on each device."""
    conn.execute(update(account).where(account.c.name == name).values(name=to))


def mailboxes(conn: Connection, *, account_id: int) -> tuple[MailboxRow, ...]:
    """Return the account's mailboxes that its server still lists."""
    return tuple(_mailbox_row(row) for row in conn.execute(_MAILBOXES, {"of_account": account_id}))


def mailboxes_of(
    conn: Connection, account_ids: Collection[int], *, only: Collection[int] | None = None
) -> tuple[MailboxRow, ...]:
    """Return the mailboxes of these accounts that their servers list or devices have.

    only: of these ids alone, listed or not.
    """
    wanted = frozenset(account_ids)
    if only is None:
        rows = conn.execute(_mailboxes_known(), {"ids": wanted})
    elif not only:
        return ()
    else:
        rows = conn.execute(_mailboxes_of_ids(), {"ids": only})
    return tuple(row for row in map(_mailbox_row, rows) if row.account_id in wanted)


@cache
def _mailboxes_known() -> Select[Any]:
    is_known = or_(mailbox.c.gone_at.is_(None), exists().where(replica.c.mailbox_id == mailbox.c.id))
    return select(mailbox).where(is_listed(mailbox.c.account_id, "ids"), is_known)


@cache
def _mailboxes_of_ids() -> Select[Any]:
    return select(mailbox).where(is_listed(mailbox.c.id, "ids"))


def all_mailboxes(conn: Connection, *, account_id: int) -> tuple[MailboxRow, ...]:
    """Return every mailbox that the account has or had."""
    return tuple(map(_mailbox_row, conn.execute(select(mailbox).where(mailbox.c.account_id == account_id))))


def left_mailboxes(conn: Connection, *, account_id: int) -> tuple[MailboxRow, ...]:
    """Return the account's mailboxes that its server has no more, but devices have, or that a person wants mail in."""
    return tuple(map(_mailbox_row, conn.execute(_LEFT_MAILBOXES, {"of_account": account_id})))


def mailbox_by_id(conn: Connection, *, mailbox_id: int) -> MailboxRow:
    """Return one mailbox, listed or not."""
    return _mailbox_row(conn.execute(_MAILBOX, {"of_id": mailbox_id}).one())


def trash_of(known: Iterable[MailboxRow]) -> MailboxRow | None:
    """Return the Trash among all mailboxes of an account, by its use, or by its name where the server tells none."""
    selectable = [row for row in known if row.is_selectable]
    for row in selectable:
        if row.special_use is SpecialUse.TRASH:
            return row
    by_name = {str(row.name): row for row in selectable}
    return next((by_name[name] for name in TRASHES if name in by_name), None)


def listed(row: MailboxRow) -> Listed:
    """Return a mailbox as `compare_listing` wants it."""
    return Listed(row.wire_name, row.name, row.delimiter, row.attributes, row.is_selected, row.object_id)


def are_listed(conn: Connection, account_ids: Iterable[int]) -> bool:
    """Tell whether all of these accounts have ever listed their mailboxes; a maildrop has none to list."""
    mine = (is_one_of(account.c.id, account_ids), account.c.kind == "imap", account.c.listed_at.is_(None))
    return conn.execute(select(account.c.id).where(*mine).limit(1)).first() is None


def make_mailbox(conn: Connection, account_id: int, entry: Listed, cursor: MailboxCursor) -> int:
    """Make a mailbox of an account for which the store is the server; return its id."""
    mailbox_id = put_listed(conn, account_id, entry)
    move_cursor(conn, mailbox_id, cursor, is_listed=True)
    return mailbox_id


def put_listed(conn: Connection, account_id: int, entry: Listed, *, came_at: float | None = None) -> int:
    """Write a mailbox as its server lists it, made if need be; return its id. came_at: of one that nobody knew."""
    where = (mailbox.c.account_id == account_id, mailbox.c.wire_name == entry.wire_name)
    known = conn.execute(select(mailbox.c.id).where(*where)).scalar_one_or_none()
    if known is not None:
        write_listed(conn, int(known), entry)
        return int(known)
    values = {**_columns_of(entry), "account_id": account_id, "came_at": came_at}
    made = insert(mailbox).values(values).returning(mailbox.c.id)
    return int(conn.execute(made).scalar_one())


def write_listed(conn: Connection, mailbox_id: int, entry: Listed) -> None:
    """Write how its server lists a known mailbox, its name included; what it does not tell stays.

    Its version rises, for its devices may have something to do.
    """
    values = _columns_of(entry)
    if entry.object_id is None:
        del values["object_id"]
    values |= {"gone_at": None, "version": mailbox.c.version + 1}
    conn.execute(update(mailbox).where(mailbox.c.id == mailbox_id).values(**values))


def pass_by(conn: Connection, mailbox_id: int, uidvalidity: int, *, uidnext: int, uids: Collection[int]) -> None:
    """Move the cursor past messages that were recorded, and are all that came from its UIDNEXT on; else leave it."""
    here = (mailbox.c.id == mailbox_id, mailbox.c.uidvalidity == uidvalidity, mailbox.c.uidnext == uidnext)
    count = mailbox.c.exists_count + len(uids)
    conn.execute(update(mailbox).where(*here).values(uidnext=max(uids) + 1, exists_count=count))


def move_cursor(conn: Connection, mailbox_id: int, cursor: MailboxCursor, *, is_listed: bool) -> None:
    """Record how far a mailbox has been read; call it in the transaction that records what was read.

    Where the mailbox can hold flags that it could not hold before, its replicas are planned anew.
    """
    flags = cursor.permanent_flags
    _plan_anew_if_wider(conn, mailbox_id, _holdable(flags, accepts_keywords=cursor.accepts_keywords))
    conn.execute(
        update(mailbox)
        .where(mailbox.c.id == mailbox_id)
        .values(
            uidvalidity=cursor.uidvalidity,
            uidnext=cursor.uidnext,
            highestmodseq=cursor.highestmodseq,
            exists_count=cursor.exists_count,
            permanent_flags=None if flags is None else format_flags(flags),
            accepts_keywords=cursor.accepts_keywords,
            is_listed=is_listed,
            error=None,
        )
    )


def record_mailbox_error(conn: Connection, *, mailbox_id: int, error: str | None) -> None:
    """Record why a mailbox could not be read, None when it could."""
    conn.execute(update(mailbox).where(mailbox.c.id == mailbox_id).values(error=error))


def record_success(conn: Connection, *, account_id: int, now: float) -> None:
    """Record that a complete round of the account ended well."""
    # NOTE: the time is written in one row by every round, which nobody need remember; more than that is news.
    columns = account.c
    was_not_well = or_(columns.succeeded_at.is_(None), columns.error.is_not(None), columns.failures != 0)
    well = {"succeeded_at": now, "error": None, "cause": None, "failures": 0}
    conn.execute(update(account).where(columns.id == account_id, was_not_well).values(well))
    conn.execute(update(account).where(columns.id == account_id).values(succeeded_at=now))


def record_failure(conn: Connection, *, account_id: int, error: str, cause: str, now: float) -> None:
    """Record that the account could not be served; cause: `errors.Cause` of it."""
    conn.execute(
        update(account)
        .where(account.c.id == account_id)
        .values(failed_at=now, error=error, cause=cause, failures=account.c.failures + 1)
    )


def _plan_anew_if_wider(conn: Connection, mailbox_id: int, after: Holdable) -> None:
    columns = select(mailbox.c.permanent_flags, mailbox.c.accepts_keywords).where(mailbox.c.id == mailbox_id)
    row = conn.execute(columns).one()
    known = None if row.permanent_flags is None else parse_flags(row.permanent_flags)
    before = _holdable(known, accepts_keywords=row.accepts_keywords)
    is_wider = after.any_keyword and not before.any_keyword
    if is_wider or before.part_of(after.flags) != after.flags:
        conn.execute(
            update(replica).where(replica.c.mailbox_id == mailbox_id).values(replica_cursor=0, server_cursor=0)
        )


def _columns_of(entry: Listed) -> dict[str, Any]:
    use = entry.special_use
    return {
        "wire_name": entry.wire_name,
        "name": str(entry.name),
        "delimiter": entry.delimiter,
        "attributes": " ".join(sorted(entry.attributes)),
        "special_use": use.value if use else None,
        "object_id": entry.object_id,
        "is_selectable": entry.is_selectable,
        "is_selected": entry.is_selected,
    }


_MAILBOX = select(mailbox).where(mailbox.c.id == bindparam("of_id"))
_MAILBOXES = select(mailbox).where(mailbox.c.account_id == bindparam("of_account"), mailbox.c.gone_at.is_(None))
_IS_LEFT = (
    or_(mailbox.c.gone_at.is_not(None), mailbox.c.is_selectable.is_(False)),
    or_(
        exists().where(replica.c.mailbox_id == mailbox.c.id),
        exists().where(journal.c.mailbox_id == mailbox.c.id, journal.c.message_id.is_not(None)),
    ),
)
_LEFT_MAILBOXES = select(mailbox).where(mailbox.c.account_id == bindparam("of_account"), *_IS_LEFT)


def _mailbox_row(row: Iterable[Any]) -> MailboxRow:
    # NOTE: in the order of the table. Asking a row by name takes ten times as long, and these are read by the hundred.
    (
        id_,
        account_id,
        name,
        wire_name,
        delimiter,
        attributes,
        special_use,
        object_id,
        is_selectable,
        is_selected,
        _,  # came_at
        gone_at,
        uidvalidity,
        uidnext,
        highestmodseq,
        permanent_flags,
        accepts_keywords,
        exists_count,
        is_listed,
        version,
        error,
    ) = row
    return MailboxRow(
        id=id_,
        account_id=account_id,
        name=MailboxName.parse(name),
        wire_name=wire_name,
        delimiter=delimiter,
        special_use=SpecialUse(special_use) if special_use else None,
        is_selectable=is_selectable,
        is_selected=is_selected,
        is_listed=is_listed,
        version=version,
        cursor=MailboxCursor(
            uidvalidity=uidvalidity,
            uidnext=uidnext,
            highestmodseq=highestmodseq,
            exists_count=exists_count,
            permanent_flags=None if permanent_flags is None else parse_flags(permanent_flags),
            accepts_keywords=accepts_keywords,
        ),
        attributes=frozenset(attributes.split()),
        error=error,
        object_id=object_id,
        is_gone=gone_at is not None,
    )


def _holdable(permanent_flags: Flags | None, *, accepts_keywords: bool) -> Holdable:
    if permanent_flags is None:
        return Holdable(SYSTEM, any_keyword=True)
    return Holdable(permanent_flags, accepts_keywords)
