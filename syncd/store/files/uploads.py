"""Floor 3: files that devices added, on their way to become messages: taken in and begun; then `settled_uploads`.

Theory. What a device added is its own until the server has it: its row names no message. Taken in, its octets are a
body of the store and the journal has a row for it, so that neither a restart nor the loss of the file loses it. The row
says `begun` before anything is sent, with what the mailbox had by then and the flags that are sent; after an answer
that was lost the message is looked for from there. What its server said of one that was not seen is kept. Settled, the
row stays for a while: by it a file that the device removes afterwards is known as the second half of a move, or as the
old version of a draft. A deleted message that a person wants back goes the same way, but for that nobody has a file of
it (`recoveries`).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Select,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)

from syncd.mail.flags import Flags, format_flags, parse_flags
from syncd.mail.tree import ReplicaState
from syncd.reconcile.moves import OwnFile
from syncd.reconcile.recoveries import WantedBack
from syncd.store.engine.queries import is_listed, is_one_of, update_at_once
from syncd.store.files.refused_uploads import is_due
from syncd.store.tables.schema import body, journal, replica, replica_message, server_message
from syncd.store.trees.journal import ON_ITS_WAY, UploadState
from syncd.store.trees.replica_tree import forget_added, is_unsettled
from syncd.store.trees.troubles import due_at
from syncd.values import Value

_PAGE = 1000


class Upload(Value):
    """A file that is taken in. uidvalidity, uidnext: of its mailbox when it was begun; else 0.

    flags: those of the file, and once it is begun those that were sent. told_uid: its UID by the word of its server.
    is_restored: its server deleted its message; flags are then those that the message had there. wanted_id: of a
    deleted message that is wanted back; there is no file of it, and no device. is_for_device: because one changed it.
    """

    id: int
    file_id: int | None
    device_id: int | None
    mailbox_id: int
    name: str
    flags: Flags
    mtime: int
    body_id: int
    size_bytes: int
    header_digest: bytes
    header_message_id: str | None
    state: UploadState
    uidvalidity: int
    uidnext: int
    begun_at: float
    attempts: int
    error: str | None
    is_restored: bool = False
    is_for_device: bool = False
    wanted_id: int | None = None
    told_uid: int | None = None

    @property
    def due_at(self) -> float:
        """Return when a refused one is to be tried again; others are due at once."""
        return 0.0 if self.error is None else due_at(self.begun_at, self.attempts)

    @property
    def own(self) -> OwnFile | None:
        """Return the device's file; None of what a person wants back."""
        if self.file_id is None or self.device_id is None:
            return None
        return OwnFile(self.file_id, self.device_id, self.mailbox_id, self.body_id, self.name, self.is_restored)

    @property
    def wanted(self) -> WantedBack | None:
        """Return the deleted message that a person wants back; None of a file."""
        return None if self.wanted_id is None else WantedBack(self.id, self.wanted_id, self.mailbox_id, self.body_id)


class Bringers(Value):
    """Name the replicas whose added files go to their server.

    writing: what they add is new mail. mailboxes: into which what a person wants back can be brought, and in which what
    was begun is looked for, whoever began it: until it is known what came of it, new mail there may be that.
    """

    writing: frozenset[int]
    mailboxes: frozenset[int] = frozenset()


def uploads(
    conn: Connection,
    *,
    account_id: int,
    of: Bringers | None = None,
    mailbox_ids: Collection[int] | None = None,
    state: UploadState | None = None,
    due_by: float | None = None,
    after: int = 0,
    limit: int | None = None,
) -> tuple[Upload, ...]:
    """Return what devices added to an account and what is not settled, the oldest first.

    of, mailbox_ids: only of these. due_by: without what was refused and waits longer. after: the id before.
    """
    wanted = {
        "of_account": account_id,
        **_named(of),
        "mailbox_ids": mailbox_ids,
        "state": state,
        "due_by": due_by,
        "after": after,
        "at_most": limit,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    return tuple(_upload(row) for row in conn.execute(_uploads(frozenset(given)), given))


def _upload(row: Any) -> Upload:
    is_restored = row.restored_flags is not None
    is_begun = row.kind == UploadState.BEGUN.value
    sent = row.sent_flags if is_begun else None
    return Upload(
        id=row.id,
        file_id=row.file_id,
        device_id=row.device_id,
        mailbox_id=row.mailbox_id,
        name=row.name or "",
        flags=parse_flags(row.restored_flags if is_restored else row.flags if sent is None else sent),
        mtime=row.mtime if row.wanted_id is None else row.internaldate,
        body_id=row.body_id,
        size_bytes=row.size_bytes,
        header_digest=row.header_digest,
        header_message_id=row.message_id,
        state=UploadState(row.kind),
        uidvalidity=row.uidvalidity,
        uidnext=row.uidnext,
        begun_at=row.begun_at,
        attempts=row.attempts,
        error=row.error,
        is_restored=is_restored,
        is_for_device=row.base_flags is not None,
        wanted_id=row.wanted_id,
        told_uid=row.told_uid if is_begun else None,
    )


def due(conn: Connection, *, account_id: int, of: Bringers, now: float, after: int = 0) -> tuple[Upload, ...]:
    """Return a page of what is to be brought now, the oldest after that id."""
    state = UploadState.TAKEN_IN
    return uploads(conn, account_id=account_id, of=of, state=state, due_by=now, after=after, limit=_PAGE)


def due_pages(conn: Connection, *, account_id: int, of: Bringers, now: float) -> Iterator[tuple[Upload, ...]]:
    """Yield all that is to be brought now."""
    after = 0
    while page := due(conn, account_id=account_id, of=of, now=now, after=after):
        yield page
        after = page[-1].id


def are_any(conn: Connection, *, account_id: int) -> bool:
    """Tell whether anything that devices added to an account is not settled."""
    return conn.execute(_ANY, {"of_account": account_id}).first() is not None


def is_any_begun(conn: Connection, *, account_id: int, mailbox_id: int) -> bool:
    """Tell whether it is not known of anything whether it came into a mailbox, so that what came there may be that."""
    return conn.execute(_BEGUN_IN, {"of_account": account_id, "of_mailbox": mailbox_id}).first() is not None


def is_busy(conn: Connection, *, account_id: int, of: Bringers, now: float) -> bool:
    """Tell whether anything is begun, or to be brought now."""
    if uploads(conn, account_id=account_id, of=of, state=UploadState.BEGUN, limit=1):
        return True
    return bool(uploads(conn, account_id=account_id, of=of, state=UploadState.TAKEN_IN, due_by=now, limit=1))


def next_at(conn: Connection, *, account_id: int, of: Bringers, unseen_s: float, now: float) -> float | None:
    """Return when the next file is to be tried that was not due by now, None without any.

    unseen_s: how long after it was begun that is so of what was not seen.
    """
    found = conn.execute(
        _waiting(), {"of_account": account_id, **_named(of), "due_by": now, "unseen_since": now - unseen_s}
    )
    at = [begun_at + unseen_s if begun else due_at(begun_at, attempts) for begun, attempts, begun_at in found]
    return min(at, default=None)


def count_refused(conn: Connection, *, account_id: int, now: float) -> Mapping[tuple[int, int | None], int]:
    """Count by mailbox and device what was refused and is to be tried again later; None: a person wants it back."""
    found = conn.execute(_refused(), {"of_account": account_id, "due_by": now})
    return {(mailbox_id, device_id): number for mailbox_id, device_id, number in found}


def _named(of: Bringers | None) -> dict[str, Any]:
    return {} if of is None else {"writing": of.writing, "mailboxes": of.mailboxes}


def is_underway(conn: Connection, device_id: int) -> bool:
    """Tell whether anything that a device added is not settled."""
    return conn.execute(_UNDERWAY, {"of_device": device_id}).first() is not None


def unchanged(conn: Connection, ids: Iterable[int]) -> frozenset[int]:
    """Return those of these rows of the journal whose files are the device's own still, and as they were taken in."""
    file = replica_message.c
    query = (
        select(journal.c.id)
        .join(replica_message, file.id == journal.c.replica_message_id)
        .where(is_one_of(journal.c.id, ids), journal.c.kind.in_(ON_ITS_WAY), file.message_id.is_(None))
    )
    return frozenset(conn.execute(query).scalars())


def begin(
    conn: Connection, sent: Mapping[int, Flags], *, uidvalidity: int, uidnext: int, now: float
) -> Collection[int]:
    """Commit that files are about to be sent to their mailbox, and with which flags, before the command is (law 3).

    Returns those that may be sent: a file that its device removed or rewrote meanwhile is none of them.
    """
    alike: defaultdict[str, list[int]] = defaultdict(list)
    for id_, flags in sent.items():
        alike[format_flags(flags)].append(id_)
    started: set[int] = set()
    for flags_sent, ids in alike.items():
        begun = (
            update(journal)
            .where(is_one_of(journal.c.id, ids), journal.c.kind == UploadState.TAKEN_IN.value)
            .values(
                kind=UploadState.BEGUN.value,
                uidvalidity=uidvalidity,
                uidnext=uidnext,
                begun_at=now,
                attempts=journal.c.attempts + 1,
                sent_flags=flags_sent,
                told_uid=None,
            )
            .returning(journal.c.id)
        )
        started.update(conn.execute(begun).scalars())
    return started


def keep_told(conn: Connection, uids: Mapping[int, int], *, now: float) -> None:
    """Keep where files that are not seen came by the word of their server, by the rows of the journal.

    However long it took to send them, from now on the server has time to show them.
    """
    update_at_once(conn, journal, {id_: {"told_uid": uid} for id_, uid in uids.items()}, begun_at=now)


def begin_again(conn: Connection, uploads: Iterable[Upload], *, now: float) -> None:
    """Record that what was begun is not there, so that it is decided anew what becomes of it; nothing if it went."""
    found = tuple(uploads)
    here = is_one_of(journal.c.id, [one.id for one in found])
    conn.execute(update(journal).where(here).values(kind=UploadState.TAKEN_IN.value, error=None))
    file = replica_message.c
    is_among = is_one_of(file.id, [one.file_id for one in found if one.file_id is not None])
    went = select(file.id).where(is_among, file.state == ReplicaState.MISSING, file.message_id.is_(None))
    for file_id in conn.execute(went).scalars().all():
        forget_added(conn, file_id, now=now)


@cache
def _uploads(given: frozenset[str]) -> Select[Any]:
    """Select what parameters of these names say."""
    file = replica_message.c
    query = (
        select(
            journal.c.id,
            file.id.label("file_id"),
            replica.c.device_id,
            journal.c.mailbox_id,
            file.name,
            file.flags,
            file.mtime,
            body.c.id.label("body_id"),
            journal.c.size_bytes,
            journal.c.header_digest,
            body.c.message_id,
            journal.c.kind,
            journal.c.uidvalidity,
            journal.c.uidnext,
            journal.c.begun_at,
            journal.c.attempts,
            journal.c.error,
            journal.c.restored_flags,
            journal.c.base_flags,
            journal.c.sent_flags,
            journal.c.told_uid,
            journal.c.message_id.label("wanted_id"),
            server_message.c.internaldate,
        )
        .outerjoin(replica_message, file.id == journal.c.replica_message_id)
        .outerjoin(replica, replica.c.id == file.replica_id)
        .outerjoin(server_message, server_message.c.id == journal.c.message_id)
        .join(body, body.c.digest == journal.c.digest)
        .where(*_is_on_its_way(), journal.c.id > bindparam("after"))
        .order_by(journal.c.id)
    )
    if "writing" in given:
        query = query.where(_is_of())
    if "mailbox_ids" in given:
        query = query.where(is_listed(journal.c.mailbox_id, "mailbox_ids"))
    if "state" in given:
        query = query.where(journal.c.kind == bindparam("state"))
    if "due_by" in given:
        query = query.where(is_due())
    return query.limit(bindparam("at_most")) if "at_most" in given else query


@cache
def _waiting() -> Select[Any]:
    file, is_begun = replica_message.c, journal.c.kind == UploadState.BEGUN.value
    is_unseen = journal.c.begun_at > bindparam("unseen_since", type_=Double())
    return (
        select(is_begun, journal.c.attempts, func.min(journal.c.begun_at))
        .outerjoin(replica_message, file.id == journal.c.replica_message_id)
        .where(*_is_on_its_way(), _is_of(), case((is_begun, is_unseen), else_=~is_due()))
        .group_by(is_begun, journal.c.attempts)
    )


@cache
def _refused() -> Select[Any]:
    return (
        select(journal.c.mailbox_id, replica.c.device_id, func.count())
        .outerjoin(replica_message, replica_message.c.id == journal.c.replica_message_id)
        .outerjoin(replica, replica.c.id == replica_message.c.replica_id)
        .where(*_is_on_its_way(), journal.c.kind == UploadState.TAKEN_IN.value, ~is_due())
        .group_by(journal.c.mailbox_id, replica.c.device_id)
    )


def _is_of() -> ColumnElement[bool]:
    is_for_anybody = or_(journal.c.kind == UploadState.BEGUN.value, journal.c.message_id.is_not(None))
    return or_(
        is_listed(replica_message.c.replica_id, "writing"),
        and_(is_for_anybody, is_listed(journal.c.mailbox_id, "mailboxes")),
    )


def _is_on_its_way() -> tuple[ColumnElement[bool], ...]:
    is_file = and_(replica_message.c.id.is_not(None), replica_message.c.message_id.is_(None))
    is_mine, kinds = journal.c.account_id == bindparam("of_account"), journal.c.kind.in_(ON_ITS_WAY)
    return is_mine, kinds, or_(is_file, journal.c.message_id.is_not(None))


_ANY = (
    select(journal.c.id).where(journal.c.account_id == bindparam("of_account"), journal.c.kind.in_(ON_ITS_WAY)).limit(1)
)
_BEGUN_IN = (
    select(journal.c.id)
    .where(
        journal.c.account_id == bindparam("of_account"),
        journal.c.kind == UploadState.BEGUN.value,
        journal.c.mailbox_id == bindparam("of_mailbox"),
    )
    .limit(1)
)
_UNDERWAY = (
    select(journal.c.id)
    .join(replica_message, replica_message.c.id == journal.c.replica_message_id)
    .join(replica, replica.c.id == replica_message.c.replica_id)
    .where(
        replica.c.device_id == bindparam("of_device"),
        is_unsettled(),  # all that is on its way is
        journal.c.kind.in_(ON_ITS_WAY),
    )
    .limit(1)
)
