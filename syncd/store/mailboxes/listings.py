"""Floor 3: what LISTs make of an account's mailboxes: added, changed, renamed, gone, and there again.

Theory. A row is its mailbox for as long as the server has it, whatever it is called, so that a rename touches no
message and no replica. One that is gone keeps its rows, all of them marked as gone. Should its name be listed again,
they are set adrift: what is in the mailbox then may be what was, and is found by content (`renumbering`), or anything.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, select, update

from syncd.mail.mailbox import MailboxName
from syncd.reconcile.mailboxes import ListChanges, Listed
from syncd.store.mailboxes import mailbox_changes
from syncd.store.mailboxes.renumbering import set_adrift
from syncd.store.tables.schema import account, mailbox, server_message
from syncd.store.trees import history, troubles
from syncd.store.trees.accounts import are_listed, put_listed, write_listed
from syncd.store.trees.history import Happening, Origin, Verb
from syncd.store.trees.server_tree import raise_version
from syncd.values import Value

_NOWHERE = b"\n\n"
"""Begins the names of mailboxes whose own another one has now; no mailbox can have such a one (RFC 9051 §5.1)."""


class Renamed(Value):
    """A known mailbox, and how it is listed now."""

    mailbox_id: int
    entry: Listed


def record_listing(
    conn: Connection,
    *,
    account_id: int,
    changes: ListChanges,
    renamed: Iterable[Renamed] = (),
    now: float,
    origin: Origin = history.SERVER,
) -> None:
    """Write what a complete LIST added, changed and renamed; a mailbox that it misses stays as it was.

    origin: who wanted that, but for what was asked of the server for devices.
    """
    renamed, added = tuple(renamed), dict[int, MailboxName]()
    _rename(conn, account_id, renamed)
    renamers = mailbox_changes.renamers(conn, account_id=account_id) if renamed else {}
    for one in renamed:
        told = Happening(Verb.RENAME_MAILBOX, detail=f"to {one.entry.name}")
        by = history.origin_of(renamers.get(one.mailbox_id, ()), otherwise=origin)
        history.tell(conn, [told], now=now, origin=by, mailbox_id=one.mailbox_id)
    is_first = not are_listed(conn, (account_id,))
    for entry in changes.added:
        _come_back(conn, account_id, entry, now=now)
        added[put_listed(conn, account_id, entry, came_at=None if is_first else now)] = entry.name
    for entry in changes.changed:
        put_listed(conn, account_id, entry)
    if added and not is_first:
        makers = mailbox_changes.makers(conn, account_id=account_id)
        for mailbox_id, name in added.items():
            by = history.origin_of(makers.get(name, ()), otherwise=origin)
            history.tell(conn, [Happening(Verb.CREATE_MAILBOX)], now=now, origin=by, mailbox_id=mailbox_id)
    first = update(account).where(account.c.id == account_id, account.c.listed_at.is_(None))
    conn.execute(first.values(listed_at=now))


def record_gone(conn: Connection, *, mailbox_id: int, now: float, origin: Origin = history.SERVER) -> None:
    """Write that a mailbox is gone, and with it all its messages. The caller has proof (law 2)."""
    columns = server_message.c
    alive = (columns.mailbox_id == mailbox_id, columns.gone_at.is_(None))
    ids = list(conn.execute(select(columns.id).where(*alive)).scalars())
    version = raise_version(conn, mailbox_id)
    conn.execute(update(server_message).where(*alive).values(gone_at=now, version=version))
    troubles.forget(conn, ids)
    conn.execute(update(mailbox).where(mailbox.c.id == mailbox_id).values(gone_at=now, error=None))
    history.tell(conn, [Happening(Verb.DELETE_MAILBOX)], now=now, origin=origin, mailbox_id=mailbox_id)


def nowhere(mailbox_id: int) -> bytes:
    """Return the name of a mailbox that has lost its own to another one."""
    return _NOWHERE + str(mailbox_id).encode()


def is_nowhere(wire_name: bytes) -> bool:
    """Tell whether a mailbox has lost its name to another one."""
    return wire_name.startswith(_NOWHERE)


def give_name(conn: Connection, *, mailbox_id: int, wire_name: bytes) -> None:
    """Give a mailbox that is nowhere a name under which it can be made again."""
    conn.execute(update(mailbox).where(mailbox.c.id == mailbox_id).values(wire_name=wire_name))


def _rename(conn: Connection, account_id: int, renamed: tuple[Renamed, ...]) -> None:
    """Give mailboxes their new names; those that have these still are set aside."""
    for one in renamed:
        _vacate(conn, one.mailbox_id)
    for one in renamed:
        where = (mailbox.c.account_id == account_id, mailbox.c.wire_name == one.entry.wire_name)
        for row in conn.execute(select(mailbox.c.id, mailbox.c.name).where(*where)).all():
            _vacate(conn, row.id)
            *outer, last = MailboxName.parse(row.name).parts
            aside = MailboxName((*outer, f"{last} (replaced {row.id})"))
            conn.execute(update(mailbox).where(mailbox.c.id == row.id).values(name=str(aside)))
        write_listed(conn, one.mailbox_id, one.entry)


def _vacate(conn: Connection, mailbox_id: int) -> None:
    conn.execute(update(mailbox).where(mailbox.c.id == mailbox_id).values(wire_name=nowhere(mailbox_id)))


def _come_back(conn: Connection, account_id: int, entry: Listed, *, now: float) -> None:
    """Let what is in a mailbox that was gone be told anew; what is new in it has come with it."""
    where = (mailbox.c.account_id == account_id, mailbox.c.wire_name == entry.wire_name)
    row = conn.execute(select(mailbox).where(*where, mailbox.c.gone_at.is_not(None))).one_or_none()
    if row is not None:
        set_adrift(conn, mailbox_id=row.id, uidvalidity=row.uidvalidity)
        uidnext = row.uidnext if row.is_listed else 0
        conn.execute(update(mailbox).where(mailbox.c.id == row.id).values(came_at=now, uidnext=uidnext))
