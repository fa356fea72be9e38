"""Floor 3: what devices did to mailbox directories, and what their accounts are to do by that.

Theory. A row is committed before anything is asked of a server, and goes in the transaction that records what came of
it. One that makes a mailbox says nothing of any message. One that removes a mailbox keeps its replica out of the
rounds of its device, which has no directory there; the messages leave by the ways that deleted files do, and then the
mailbox goes, or, if anything is left in it, comes back to the device.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select, update

from syncd.mail.mailbox import MailboxName
from syncd.store.engine.queries import is_one_of
from syncd.store.tables.schema import mailbox_change
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.troubles import NEVER, due_at
from syncd.values import Value


class ChangeKind(StrEnum):
    """Say what a device did: its program made the directory of a mailbox, or renamed or removed it."""

    MAKE = "make"
    RENAME = "rename"
    REMOVE = "remove"


class ChangeState(StrEnum):
    """Say how far a change is: wanted, or asked of the server, so that it may be done.

    left: the configuration of the account leaves the mailbox out. returned: the device is to have it again, under
    whatever name.
    """

    WANTED = "wanted"
    BEGUN = "begun"
    LEFT = "left"
    RETURNED = "returned"


class MailboxChange(Value):
    """What a device did to one mailbox. mailbox_id: None of one that is to be made."""

    id: int
    account_id: int
    device_id: int
    mailbox_id: int | None
    kind: ChangeKind
    name: MailboxName
    state: ChangeState
    attempts: int
    error: str | None
    asked_at: float
    tried_at: float

    @property
    def is_removal(self) -> bool:
        """Tell whether it is to be done that the mailbox goes."""
        return self.kind is ChangeKind.REMOVE and self.state is not ChangeState.RETURNED

    @property
    def due_at(self) -> float:
        """Return when a refused one is to be tried again, others at once; one that was never tried is not to be."""
        if self.error is None:
            return 0.0
        return due_at(self.tried_at, self.attempts) if self.attempts else NEVER


def mailbox_changes(
    conn: Connection, *, account_id: int | None = None, device_id: int | None = None
) -> tuple[MailboxChange, ...]:
    """Return what is to be done for an account, or because of a device, or both; the oldest first."""
    of = {"account_id": account_id, "device_id": device_id}
    wanted = {name: id_ for name, id_ in of.items() if id_ is not None}
    return tuple(map(_change, conn.execute(_changes(*wanted), wanted)))


def makers(conn: Connection, *, account_id: int) -> Mapping[MailboxName, frozenset[int]]:
    """Return the devices for which a server was asked to make mailboxes, by these and all names around them."""
    found: defaultdict[MailboxName, set[int]] = defaultdict(set)
    for one in mailbox_changes(conn, account_id=account_id):
        if one.kind is ChangeKind.MAKE and one.state is ChangeState.BEGUN:
            for count in range(len(one.name.parts)):
                found[MailboxName(one.name.parts[: count + 1])].add(one.device_id)
    return {name: frozenset(ids) for name, ids in found.items()}


def renamers(conn: Connection, *, account_id: int) -> Mapping[int, frozenset[int]]:
    """Return the devices for which a server was asked to rename mailboxes, by these."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    for one in mailbox_changes(conn, account_id=account_id):
        if one.kind is ChangeKind.RENAME and one.state is ChangeState.BEGUN and one.mailbox_id is not None:
            found[one.mailbox_id].add(one.device_id)
    return {mailbox_id: frozenset(ids) for mailbox_id, ids in found.items()}


def want_mailbox(
    conn: Connection, *, account_id: int, device_id: int, name: MailboxName, error: str | None, now: float
) -> bool:
    """Record that a device made a mailbox, unless that is known; error: why no server can have it."""
    here = {"account_id": account_id, "device_id": device_id, "name": str(name), "kind": ChangeKind.MAKE.value}
    known = select(mailbox_change.c.id).where(*(mailbox_change.c[column] == value for column, value in here.items()))
    if conn.execute(known).first() is not None:
        return False
    conn.execute(insert(mailbox_change).values(**here, state=ChangeState.WANTED.value, error=error, asked_at=now))
    return True


def want_removal(conn: Connection, of: ReplicaRow, *, account_id: int, name: MailboxName, now: float) -> None:
    """Record that a device removed a mailbox."""
    _insert(conn, of, ChangeKind.REMOVE, account_id=account_id, name=name, now=now)


def want_rename(conn: Connection, of: ReplicaRow, *, account_id: int, name: MailboxName, now: float) -> None:
    """Record that a device gave the directory of a mailbox another name."""
    _insert(conn, of, ChangeKind.RENAME, account_id=account_id, name=name, now=now)


def begin(conn: Connection, ids: Iterable[int], *, now: float) -> None:
    """Commit that a server is about to be asked, before it is (law 3)."""
    attempts = mailbox_change.c.attempts + 1
    _set_state(conn, ids, ChangeState.BEGUN, attempts=attempts, tried_at=now, error=None)


def put_off(conn: Connection, ids: Iterable[int]) -> None:
    """Record that the server was not asked after all."""
    _set_state(conn, ids, ChangeState.WANTED, attempts=0)


def refuse(conn: Connection, ids: Iterable[int], *, error: str) -> None:
    """Record why the server did not do it; it is tried again, each time after longer."""
    _set_state(conn, ids, ChangeState.WANTED, error=error)


def leave(conn: Connection, changes: Iterable[MailboxChange], *, is_left: bool) -> None:
    """Record of which mailboxes the configuration of their account wants nothing, or something again."""
    state = ChangeState.LEFT if is_left else ChangeState.WANTED
    _set_state(conn, [one.id for one in changes], state, error=None)


def drop(conn: Connection, ids: Iterable[int]) -> None:
    """Forget what is done, or not wanted any more."""
    conn.execute(delete(mailbox_change).where(is_one_of(mailbox_change.c.id, ids)))


def hurry(conn: Connection, *, account_id: int) -> None:
    """Let everything that was refused be tried again at once: somebody asked for it."""
    mine = (mailbox_change.c.account_id == account_id, mailbox_change.c.error.is_not(None))
    conn.execute(update(mailbox_change).where(*mine).values(tried_at=0.0))


def set_back(conn: Connection, *, account_id: int, now: float) -> None:
    """Let that be of now which seems to have been tried later than now, for the clock was set back since."""
    ahead = (mailbox_change.c.account_id == account_id, mailbox_change.c.tried_at > now)
    conn.execute(update(mailbox_change).where(*ahead).values(tried_at=now))


def return_all(conn: Connection, ids: Iterable[int]) -> None:
    """Record that devices are to have mailboxes again, which are called as they called them, or as before."""
    _set_state(conn, ids, ChangeState.RETURNED, error=None)


def _set_state(conn: Connection, ids: Iterable[int], state: ChangeState, **values: Any) -> None:
    here = update(mailbox_change).where(is_one_of(mailbox_change.c.id, ids))
    conn.execute(here.values(state=state.value, **values))


def _insert(
    conn: Connection, of: ReplicaRow, kind: ChangeKind, *, account_id: int, name: MailboxName, now: float
) -> None:
    conn.execute(
        insert(mailbox_change).values(
            account_id=account_id,
            device_id=of.device_id,
            mailbox_id=of.mailbox_id,
            kind=kind.value,
            name=str(name),
            state=ChangeState.WANTED.value,
            asked_at=now,
        )
    )


def _change(row: Row[Any]) -> MailboxChange:
    return MailboxChange(
        id=row.id,
        account_id=row.account_id,
        device_id=row.device_id,
        mailbox_id=row.mailbox_id,
        kind=ChangeKind(row.kind),
        name=MailboxName.parse(row.name),
        state=ChangeState(row.state),
        attempts=row.attempts,
        error=row.error,
        asked_at=row.asked_at,
        tried_at=row.tried_at,
    )


@cache
def _changes(*columns: str) -> Select[Any]:
    """Select what has the values of these columns that parameters of their names have."""
    where = [mailbox_change.c[name] == bindparam(name) for name in columns]
    return select(mailbox_change).where(*where).order_by(mailbox_change.c.id)
