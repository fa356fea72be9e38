"""Floor 3: mailboxes that devices removed: their files, what is left of them on the server, and how they end."""

from collections.abc import Collection

from sqlalchemy import Connection, and_, delete, exists, func, or_, select, update

from syncd.mail.tree import NOT_THERE
from syncd.reconcile.changes import compare
from syncd.reconcile.guard import Reason
from syncd.reconcile.removals import Remainder
from syncd.store.files.adoption import all_files
from syncd.store.mailboxes import listings, mailbox_changes
from syncd.store.mailboxes.mailbox_changes import ChangeKind, ChangeState, MailboxChange
from syncd.store.rounds import holds
from syncd.store.rounds.holds import HoldScope, HoldState
from syncd.store.tables.schema import device, journal, mailbox_change, replica, replica_message, server_message
from syncd.store.trees import accounts, history
from syncd.store.trees.devices import ACTIVE, ReplicaRow
from syncd.store.trees.journal import ON_ITS_WAY
from syncd.store.trees.replica_tree import record_changes


def remove(conn: Connection, removed: Collection[ReplicaRow], *, now: float, window_s: float) -> None:
    """Record that a device has no directories for these mailboxes any more; whoever asks has the proof (law 2).

    Their files are missing from then on. Where several go within the window, the guard judges those that have
    messages; the others would go unasked, and so they are held.
    """
    for of in removed:
        changes = compare(rows := all_files(conn, of.id), {}, rows)
        record_changes(conn, of.id, changes, now=now)
        row = accounts.mailbox_by_id(conn, mailbox_id=of.mailbox_id)
        mailbox_changes.want_removal(conn, of, account_id=row.account_id, name=row.name, now=now)
    for device_id in {of.device_id for of in removed}:
        going = removed_lately(conn, device_id=device_id, since=now - window_s)
        for mailbox_id in going if len(going) > 1 else ():
            if _messages(conn, mailbox_id) == 0 and not _holds(conn, device_id, mailbox_id):
                holds.put_hold(
                    conn,
                    scope_id=device_id,
                    mailbox_id=mailbox_id,
                    reason=Reason.MAILBOXES_EMPTIED,
                    effects=(),
                    now=now,
                    scope=HoldScope.BY_DEVICE,
                )


def removed_lately(conn: Connection, *, device_id: int, since: float) -> frozenset[int]:
    """Return the mailboxes that a device removed since then, and of which that is not settled."""
    return frozenset(
        one.mailbox_id
        for one in mailbox_changes.mailbox_changes(conn, device_id=device_id)
        if one.is_removal and one.mailbox_id is not None and one.asked_at >= since
    )


def empty_removals(conn: Connection, *, device_id: int, since: float) -> frozenset[int]:
    """Return those of them that had no message and that no person released."""
    return frozenset(
        mailbox_id
        for mailbox_id in removed_lately(conn, device_id=device_id, since=since)
        if _messages(conn, mailbox_id) == 0
        and all(one.state is HoldState.HELD for one in _holds(conn, device_id, mailbox_id))
    )


def are_awaited(conn: Connection, *, mailbox_id: int) -> bool:
    """Tell whether a mailbox is about to go once devices have nothing of it any more."""
    return any(one.is_removal and one.mailbox_id == mailbox_id for one in mailbox_changes.mailbox_changes(conn))


def remainder(conn: Connection, change: MailboxChange, *, devices: Collection[str]) -> Remainder:
    """Return what is left of a mailbox that a device removed, on the server and on the devices that take it."""
    mailbox_id = change.mailbox_id or 0
    columns = replica_message.c
    here = (server_message.c.mailbox_id == mailbox_id, server_message.c.gone_at.is_(None))
    of_device = exists().where(
        columns.message_id == server_message.c.id,
        columns.state.in_(NOT_THERE),
        columns.replica_id == replica.c.id,
        replica.c.device_id == change.device_id,
    )
    on_its_way = exists().where(
        journal.c.mailbox_id == mailbox_id, journal.c.kind.in_(ON_ITS_WAY), journal.c.replica_message_id.is_not(None)
    )
    added = exists().where(
        replica.c.mailbox_id == mailbox_id, columns.replica_id == replica.c.id, columns.message_id.is_(None)
    )
    # NOTE: what these have to remove may be held, and a person may put it back on the server.
    behind = (
        select(columns.id)
        .join(replica, replica.c.id == columns.replica_id)
        .join(device, device.c.id == replica.c.device_id)
        .join(server_message, server_message.c.id == columns.message_id)
        .where(
            replica.c.mailbox_id == mailbox_id,
            device.c.id != change.device_id,
            device.c.name.in_(devices),
            device.c.state == ACTIVE,
            server_message.c.gone_at.is_not(None),
        )
        .limit(1)
    )
    inner = [
        row.id
        for row in accounts.mailboxes(conn, account_id=change.account_id)
        if row.is_selectable  # else it is only a name around others
        and row.name.parts[: len(change.name.parts)] == change.name.parts
        and row.name != change.name
    ]
    removed = {
        one.mailbox_id for one in mailbox_changes.mailbox_changes(conn, account_id=change.account_id) if one.is_removal
    }
    return Remainder(
        messages=_messages(conn, mailbox_id),
        removed=conn.execute(select(func.count()).select_from(server_message).where(*here, of_device)).scalar_one(),
        is_used=bool(conn.execute(select(or_(on_its_way, added))).scalar_one())
        or conn.execute(behind).first() is not None,
        is_held=any(one.state is HoldState.HELD for one in _holds(conn, change.device_id, mailbox_id))
        or any(
            one.state is HoldState.HELD for one in holds.holds(conn, mailbox_id=mailbox_id, scope=HoldScope.OF_ACCOUNT)
        ),
        inner_kept=len(set(inner) - removed),
        inner_removed=len(set(inner) & removed),
    )


def give_back(conn: Connection, *, mailbox_id: int | None = None, device_id: int | None = None) -> None:
    """Let a device have a mailbox again that it removed, or all devices, or one device all of them."""
    where = [mailbox_change.c.kind == ChangeKind.REMOVE.value]
    if mailbox_id is not None:
        where.append(mailbox_change.c.mailbox_id == mailbox_id)
    if device_id is not None:
        where.append(mailbox_change.c.device_id == device_id)
    returned = update(mailbox_change).where(*where).values(state=ChangeState.RETURNED.value, error=None)
    rows = conn.execute(returned.returning(mailbox_change.c.device_id, mailbox_change.c.mailbox_id)).all()
    for row in rows:
        _drop_empty_holds(conn, row.device_id, row.mailbox_id)


def take_back(conn: Connection, change: MailboxChange) -> None:
    """Record that a device has the directory of a mailbox, by whatever name, so that all of it is planned anew."""
    mailbox_changes.drop(conn, (change.id,))
    mailbox_id = change.mailbox_id or 0
    _drop_empty_holds(conn, change.device_id, mailbox_id)
    mine = and_(replica.c.mailbox_id == mailbox_id, replica.c.device_id == change.device_id)
    conn.execute(update(replica).where(mine).values(server_cursor=0))


def forget(conn: Connection, changes: Collection[MailboxChange]) -> None:
    """Forget changes that nobody wants any more."""
    mailbox_changes.drop(conn, [one.id for one in changes if one.kind is ChangeKind.MAKE])
    for one in changes:
        if one.kind is not ChangeKind.MAKE:
            take_back(conn, one)


def settle(conn: Connection, *, mailbox_id: int, now: float) -> None:
    """Record that a mailbox is gone from its server because devices removed it; they have nothing of it any more."""
    mine = (mailbox_change.c.mailbox_id == mailbox_id, mailbox_change.c.kind == ChangeKind.REMOVE.value)
    devices = select(mailbox_change.c.device_id).where(*mine)
    device_ids = conn.execute(devices).scalars().all()
    for device_id in device_ids:
        holds.drop_holds(conn, (one.id for one in _holds(conn, device_id, mailbox_id)))
    conn.execute(delete(replica).where(replica.c.mailbox_id == mailbox_id, replica.c.device_id.in_(devices)))
    conn.execute(delete(mailbox_change).where(*mine))
    listings.record_gone(conn, mailbox_id=mailbox_id, now=now, origin=history.origin_of(device_ids))


def _messages(conn: Connection, mailbox_id: int) -> int:
    here = (server_message.c.mailbox_id == mailbox_id, server_message.c.gone_at.is_(None))
    return conn.execute(select(func.count()).select_from(server_message).where(*here)).scalar_one()


def _holds(conn: Connection, device_id: int, mailbox_id: int) -> tuple[holds.Hold, ...]:
    return holds.holds(conn, device_id=device_id, mailbox_id=mailbox_id, scope=HoldScope.BY_DEVICE)


def _drop_empty_holds(conn: Connection, device_id: int, mailbox_id: int) -> None:
    holds.drop_holds(conn, (one.id for one in _holds(conn, device_id, mailbox_id) if not one.effects))
