"""Floor 3: mailboxes of which the store is the server: they are made here, and messages come into and leave them.

Theory. What is written here is what the server has, so each of these is the deed itself, done in the transaction that
settles it: nothing is begun before, and nothing has to be found again. A message is never changed but for its flags:
another place or other octets are another row with a UID of its own. UIDs ascend, and so do the values of UIDVALIDITY.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, func, select, update

from syncd.mail.flags import DELETED, NONE, SYSTEM, Flags, format_flags, parse_flags
from syncd.mail.mailbox import MailboxName, SpecialUse
from syncd.mail.uidset import UidSet
from syncd.reconcile.mailboxes import ListChanges, Listed
from syncd.store.engine.queries import insert_at_once, is_one_of
from syncd.store.files import deletions
from syncd.store.mailboxes import listings
from syncd.store.mailboxes.listings import Renamed
from syncd.store.tables.schema import account, mailbox, server_message
from syncd.store.trees import accounts, history, server_tree
from syncd.store.trees.accounts import MailboxCursor
from syncd.store.trees.history import Happening, Origin, Verb
from syncd.values import Value, replace

_DELIMITER = "/"


class NewMessage(Value):
    """A message that comes into a mailbox; its body is in the store."""

    body_id: int
    size_bytes: int
    internaldate: int
    flags: Flags = NONE


def served_accounts(conn: Connection) -> frozenset[int]:
    """Return the accounts of whose mailboxes the store is the server."""
    return frozenset(conn.execute(select(account.c.id).where(account.c.kind == "pop3")).scalars())


def ensure_mailbox(
    conn: Connection,
    account_id: int,
    name: MailboxName,
    use: SpecialUse | None = None,
    *,
    now: float,
    origin: Origin = history.SYNCD,
) -> bool:
    """Make a mailbox unless the account has one of that name; tell whether it was made."""
    wire_name = str(name).encode()
    mine = mailbox.c.account_id == account_id
    is_there = (mine, mailbox.c.wire_name == wire_name, mailbox.c.gone_at.is_(None))
    if conn.execute(select(mailbox.c.id).where(*is_there)).first() is not None:
        return False
    attributes = frozenset({use.value} if use else ())
    # NOTE: UIDVALIDITY must rise when a mailbox is made again, even if the clock was set back meanwhile.
    highest = conn.execute(select(func.max(mailbox.c.uidvalidity)).where(mine)).scalar_one() or 0
    cursor = MailboxCursor(max(int(now), highest + 1), 1, None, 0, SYSTEM, accepts_keywords=True)
    entry = Listed(wire_name, name, _DELIMITER, attributes, is_selected=True)
    made = accounts.make_mailbox(conn, account_id, entry, cursor)
    history.tell(conn, [Happening(Verb.CREATE_MAILBOX)], now=now, origin=origin, mailbox_id=made)
    return True


def rename_mailbox(conn: Connection, mailbox_id: int, name: MailboxName, *, now: float, origin: Origin) -> None:
    """Give a mailbox another name, with all that is in it, unless there is one of that name."""
    row = accounts.mailbox_by_id(conn, mailbox_id=mailbox_id)
    if any(one.name == name for one in accounts.mailboxes(conn, account_id=row.account_id)):
        return
    entry = replace(accounts.listed(row), wire_name=str(name).encode(), name=name)
    nothing = ListChanges((), (), ())
    renamed = (Renamed(mailbox_id, entry),)
    listings.record_listing(conn, account_id=row.account_id, changes=nothing, renamed=renamed, now=now, origin=origin)


def put_messages(conn: Connection, mailbox_id: int, new: Sequence[NewMessage], *, now: float) -> tuple[int, ...]:
    """Put messages into a mailbox under UIDs in their order, and return their rows."""
    if not new:
        return ()
    count = len(new)
    taken = (
        update(mailbox)
        .where(mailbox.c.id == mailbox_id)
        .values(
            uidnext=mailbox.c.uidnext + count,
            exists_count=mailbox.c.exists_count + count,
            version=mailbox.c.version + 1,
        )
        .returning(mailbox.c.uidvalidity, mailbox.c.uidnext, mailbox.c.version)
    )
    uidvalidity, uidnext, version = conn.execute(taken).one()
    uids = range(uidnext - count, uidnext)
    insert_at_once(
        conn,
        server_message,
        [
            {
                "uid": uid,
                "flags": format_flags(one.flags),
                "size_bytes": one.size_bytes,
                "internaldate": one.internaldate,
                "body_id": one.body_id,
            }
            for one, uid in zip(new, uids, strict=True)
        ],
        mailbox_id=mailbox_id,
        uidvalidity=uidvalidity,
        version=version,
        came_at=now,
    )
    ids = server_tree.message_ids_of(conn, mailbox_id=mailbox_id, uidvalidity=uidvalidity, uids=uids)
    return tuple(ids[uid] for uid in uids)


def copies_of(conn: Connection, message_ids: Iterable[int]) -> Mapping[int, NewMessage]:
    """Return what a copy of each of these messages would be, of those that are in a mailbox still."""
    return _copies(conn, server_message.c.gone_at.is_(None), is_one_of(server_message.c.id, message_ids))


def old_copies_of(conn: Connection, message_ids: Iterable[int]) -> Mapping[int, NewMessage]:
    """Return what a copy of each of these messages would be, of those whose body the store has, be they gone or not."""
    # NOTE: with the mark of those who expunged it, others would expunge it again.
    found = _copies(conn, is_one_of(server_message.c.id, message_ids))
    return {id_: replace(one, flags=one.flags - {DELETED}) for id_, one in found.items()}


def take_out(conn: Connection, message_ids: Collection[int], *, now: float) -> None:
    """Take messages out of their mailboxes; devices that have them follow. Their bodies stay in the store."""
    columns = server_message.c
    query = select(columns.mailbox_id, columns.uidvalidity, columns.id, columns.uid).where(
        is_one_of(columns.id, message_ids), columns.gone_at.is_(None)
    )
    found: dict[tuple[int, int], dict[int, int]] = {}
    for mailbox_id, uidvalidity, message_id, uid in conn.execute(query):
        found.setdefault((mailbox_id, uidvalidity), {})[message_id] = uid
    for (mailbox_id, uidvalidity), uids in found.items():
        server_tree.record_vanished(conn, mailbox_id, uidvalidity, UidSet.of(uids.values()), now=now)
        deletions.lower_count(conn, mailbox_id, tuple(uids))


def _copies(conn: Connection, *where: ColumnElement[bool]) -> Mapping[int, NewMessage]:
    columns = server_message.c
    query = select(columns.id, columns.body_id, columns.size_bytes, columns.internaldate, columns.flags)
    return {
        id_: NewMessage(body_id, size_bytes, internaldate, parse_flags(flags))
        for id_, body_id, size_bytes, internaldate, flags in conn.execute(
            query.where(columns.body_id.is_not(None), *where)
        )
    }
