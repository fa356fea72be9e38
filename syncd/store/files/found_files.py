"""Floor 3: files that were there before we were, known by their content until they are those of messages, or new.

Theory. A file without a row is *found*: its octets are in the store, and the journal has the bodies that it may be,
several where its line ends may stand for others, or a program has added a line of its own to what its server has. It
becomes the file of a message with such a body, and *new*, a message of the device's own, only once no message of the
server can be it: none has its octets, and none with its Message-ID has them but for such lines (`likes`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from syncd.mail.flags import NONE, Flags, format_flags
from syncd.mail.mailbox import INBOX
from syncd.mail.message import TUID_BYTES
from syncd.mail.tree import BodyForm, ReplicaState
from syncd.reconcile.changes import Sighting
from syncd.reconcile.pairing import Candidate, pair_by_content
from syncd.reconcile.planner import Selection
from syncd.store.bodies.bodies import body_facts
from syncd.store.bodies.wanted_bodies import wanted_bodies
from syncd.store.engine.queries import PER_VERSION, groups, insert_at_once, is_one_of, rows_in
from syncd.store.files.deletions import touch
from syncd.store.tables.schema import (
    account,
    base_message,
    body,
    journal,
    mailbox,
    replica_message,
    server_message,
)
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.journal import FOUND, ON_ITS_WAY
from syncd.store.trees.replica_news import raise_replica_version
from syncd.store.trees.replica_tree import is_unsettled
from syncd.values import Value

_NOTES_MAX_BYTES = 1024
"""More no program writes into a header for itself."""
_LIKES_MAX = 16
"""So many messages have one Message-ID where a program sends the same over and over, and then most are no likes."""


class Identity(Value):
    """A body that a file may be; size_bytes: of its octets. form: in which the file has them if it is that one."""

    digest: bytes
    header_digest: bytes
    size_bytes: int
    form: BodyForm


class Like(NamedTuple):
    """A found file with its body, and the body of a message without a file that may be the same but for notes."""

    file_id: int
    own_body_id: int
    body_id: int


class Matched(NamedTuple):
    """How many found files are those of messages now, and how many are the device's own."""

    known: int
    new: int


class FoundFile(Value):
    """A file of which only the content is known. file_id: of its row, if it was a message's until now."""

    seen: Sighting
    identities: tuple[Identity, ...]
    file_id: int | None = None


def record_found(conn: Connection, of: ReplicaRow, files: Sequence[FoundFile], *, account_id: int, now: float) -> None:
    """Write files whose bodies are in the store, or go there in the same transaction."""
    gone = (journal.c.mailbox_id == of.mailbox_id, journal.c.replica_message_id.is_(None))
    conn.execute(delete(journal).where(journal.c.kind == FOUND, *gone))
    new = [file for file in files if file.file_id is None]
    insert_at_once(
        conn,
        replica_message,
        [{"replica_id": of.id, "name": file.seen.name, "form": BodyForm.RAW, **_as_found(file)} for file in new],
    )
    query = select(replica_message.c.name, replica_message.c.id).where(replica_message.c.replica_id == of.id)
    ids = {row.name: row.id for row in rows_in(conn, query, replica_message.c.name, [one.seen.name for one in new])}
    for file in files:
        if file.file_id is not None:
            _detach(conn, of, file.file_id, file)
    may_be = [(file.file_id or ids[file.seen.name], one) for file in files for one in file.identities]
    _record_identities(conn, of, may_be, account_id=account_id, now=now)


def match(
    conn: Connection, of: ReplicaRow, *, selection: Selection, now: float, examined: Collection[Like] = frozenset()
) -> Matched:
    """Find the messages of found files, and those that have none; return how many that were.

    examined: what `likes` said and is known to be the same, or not; a file with another like waits.
    """
    return Matched(pair(conn, of), release(conn, of, selection=selection, now=now, examined=examined))


def likes(conn: Connection, of: ReplicaRow) -> tuple[Like, ...]:
    """Return the bodies that found files may have but for notes: those with their Message-ID and nearly their size.

    NOTE: of each file only the nearest ones. What is beyond them is another message, so that the file is sent: twice on
    the server is seen by everyone, and a file that waited would be on no server.
    """
    message, file, files = server_message.c, replica_message.c, replica_message.alias()
    own, other, named = body.alias(), body.alias(), journal.alias()
    apart = func.abs(other.c.lf_size_bytes - own.c.lf_size_bytes)
    near = (
        select(file.id, own.c.id.label("own_body_id"), other.c.id.label("body_id"), apart.label("apart"))
        .distinct()
        .join(journal, and_(journal.c.replica_message_id == file.id, journal.c.kind == FOUND))
        .join(own, own.c.digest == journal.c.digest)
        .join(other, and_(other.c.message_id == own.c.message_id, other.c.id != own.c.id))
        .join(server_message, message.body_id == other.c.id)
        .where(
            file.replica_id == of.id,
            is_unsettled(ReplicaState.FOUND),
            message.mailbox_id + 0 == of.mailbox_id,
            message.gone_at.is_(None),
            apart <= _NOTES_MAX_BYTES,
            ~exists().where(files.c.replica_id == of.id, files.c.message_id == message.id),
            ~exists().where(
                named.c.replica_message_id == file.id, named.c.kind == FOUND, named.c.digest == other.c.digest
            ),
        )
        .subquery()
    )
    place = func.row_number().over(partition_by=near.c.id, order_by=(near.c.apart, near.c.body_id))
    placed = select(near, place.label("place")).subquery()
    query = (
        select(placed.c.id, placed.c.own_body_id, placed.c.body_id)
        .where(placed.c.place <= _LIKES_MAX)
        .order_by(placed.c.id, placed.c.body_id)
    )
    return tuple(Like(*row) for row in conn.execute(query))


def identify(conn: Connection, of: ReplicaRow, same: Collection[Like], *, now: float) -> None:
    """Record that found files may be these bodies, too: they are the same but for notes."""
    facts = body_facts(conn, {like.body_id for like in same})
    may_be = [
        (like.file_id, Identity(of_body.digest, of_body.header_digest, of_body.size_bytes, BodyForm.OWN))
        for like in same
        if (of_body := facts.get(like.body_id)) is not None
    ]
    account_id = conn.execute(select(mailbox.c.account_id).where(mailbox.c.id == of.mailbox_id)).scalar_one()
    _record_identities(conn, of, may_be, account_id=account_id, now=now)


def pair(conn: Connection, of: ReplicaRow) -> int:
    """Make found files those of messages with the same body that the replica lacks; return how many that were."""
    message, mine = server_message.c, replica_message.c
    of_found = (
        select(body.c.id)
        .join(journal, and_(journal.c.digest == body.c.digest, journal.c.kind == FOUND))
        .join(replica_message, mine.id == journal.c.replica_message_id)
        .where(mine.replica_id == of.id, is_unsettled(ReplicaState.FOUND))
    )
    files = replica_message.alias()
    has_file = exists().where(files.c.replica_id == of.id, files.c.message_id == message.id)
    query = (
        select(message.id, message.body_id, message.internaldate)
        .where(message.mailbox_id == of.mailbox_id, message.gone_at.is_(None), message.body_id.in_(of_found), ~has_file)
        .order_by(message.uid)
    )
    messages = {row.id: Candidate(row.id, frozenset({row.body_id}), row.internaldate) for row in conn.execute(query)}
    if not messages:
        return 0
    wanted = {content for one in messages.values() for content in one.contents}
    pairs = pair_by_content(_found(conn, of, wanted), messages.values())
    if not pairs:
        return 0
    bodies = {id_: next(iter(one.contents)) for id_, one in messages.items()}
    forms = _forms(conn, pairs, bodies)
    to_message = update(replica_message).where(mine.id == bindparam("file_id"))
    values = {"state": ReplicaState.PRESENT, "message_id": bindparam("mid"), "form": bindparam("new_form")}
    for group in groups(pairs.items(), PER_VERSION):
        bound = [{"file_id": file_id, "mid": id_, "new_form": forms[file_id]} for file_id, id_ in group]
        conn.execute(to_message.values(version=raise_replica_version(conn, of.id), **values), bound)
        touch(conn, of.mailbox_id, [id_ for _, id_ in group])
    begin_base(conn, of, dict.fromkeys(pairs.values(), NONE))
    conn.execute(delete(journal).where(journal.c.kind == FOUND, is_one_of(journal.c.replica_message_id, pairs)))
    return len(pairs)


def release(
    conn: Connection, of: ReplicaRow, *, selection: Selection, now: float, examined: Collection[Like] = frozenset()
) -> int:
    """Make those found files new of which no message can be the same any more; return how many that were."""
    ids = _releasable(conn, of, selection=selection, now=now)
    if ids:
        open_ = {like.file_id for like in likes(conn, of) if like not in examined}
        ids = [id_ for id_ in ids if id_ not in open_]
    if ids:
        version = raise_replica_version(conn, of.id)
        new = update(replica_message).where(is_one_of(replica_message.c.id, ids))
        conn.execute(new.values(state=ReplicaState.NEW, version=version))
    return len(ids)


def is_match_due(conn: Connection, of: ReplicaRow, *, selection: Selection, now: float) -> bool:
    """Tell whether `match` would make something new."""
    found = (
        select(replica_message.c.id)
        .where(replica_message.c.replica_id == of.id, is_unsettled(ReplicaState.FOUND))
        .limit(1)
    )
    return conn.execute(found).first() is not None and bool(_releasable(conn, of, selection=selection, now=now))


def with_found(conn: Connection) -> frozenset[int]:
    """Return the replicas that have found files."""
    return frozenset(conn.execute(_with_found()).scalars())


@cache
def _with_found() -> Select[Any]:
    return select(replica_message.c.replica_id).where(is_unsettled(ReplicaState.FOUND)).distinct()


def _found(conn: Connection, of: ReplicaRow, body_ids: Iterable[int]) -> Sequence[Candidate]:
    """Return the found files of a replica that may be one of these bodies."""
    query = (
        select(replica_message.c.id, replica_message.c.mtime, body.c.id.label("body_id"))
        .join(journal, and_(journal.c.replica_message_id == replica_message.c.id, journal.c.kind == FOUND))
        .join(body, body.c.digest == journal.c.digest)
        .where(replica_message.c.replica_id == of.id, is_unsettled(ReplicaState.FOUND), is_one_of(body.c.id, body_ids))
        .order_by(replica_message.c.id)
    )
    files: dict[int, Candidate] = {}
    for row in conn.execute(query):
        known = files.get(row.id)
        contents = frozenset({row.body_id}) | (known.contents if known else frozenset())
        files[row.id] = Candidate(row.id, contents, row.mtime)
    return tuple(files.values())


def _releasable(conn: Connection, of: ReplicaRow, *, selection: Selection, now: float) -> Sequence[int]:
    """Return the found files that are the device's own.

    The server must have been read since they were found. A file that another replica of the mailbox has as well waits
    for that one, if it was there first, so that what none but devices have becomes one message and not one of each.
    """
    if of.listed_at is None or not _is_read_since(conn, of, of.listed_at, selection, now):
        return ()
    message, file, mine = server_message.c, replica_message.c, journal.c
    is_unread = (message.mailbox_id == of.mailbox_id, message.body_id.is_(None), message.gone_at.is_(None))
    unread, tagged = (select(message.size_bytes - more).where(*is_unread) for more in (0, TUID_BYTES))
    others = (
        select(mine.digest)
        .join(replica_message, file.id == mine.replica_message_id)
        .where(
            mine.kind.in_((FOUND, *ON_ITS_WAY)),
            mine.mailbox_id == of.mailbox_id,
            file.replica_id != of.id,
            or_(file.state == ReplicaState.NEW, and_(file.state == ReplicaState.FOUND, file.replica_id < of.id)),
        )
    )
    here = (mine.kind == FOUND, mine.mailbox_id == of.mailbox_id, mine.replica_message_id.is_not(None))
    may_be_one = select(mine.replica_message_id).where(*here, mine.size_bytes.in_(unread.union_all(tagged)))
    another_has_it = select(mine.replica_message_id).where(*here, mine.digest.in_(others))
    query = select(file.id).where(
        file.replica_id == of.id,
        is_unsettled(ReplicaState.FOUND),
        file.id.not_in(may_be_one),
        file.id.not_in(another_has_it),
    )
    return conn.execute(query).scalars().all()


def _is_read_since(conn: Connection, of: ReplicaRow, since: float, selection: Selection, now: float) -> bool:
    """Tell whether the server was asked for everything since then, and gave each body that the device takes.

    NOTE: their sizes alone are no proof, for some servers only estimate them.
    """
    query = (
        select(
            account.c.kind,
            account.c.succeeded_at,
            mailbox.c.name,
            mailbox.c.uidvalidity,
            mailbox.c.is_listed,
            mailbox.c.error,
        )
        .join(account, account.c.id == mailbox.c.account_id)
        .where(mailbox.c.id == of.mailbox_id)
    )
    row = conn.execute(query).one()
    if row.kind == "pop3" and row.name != str(INBOX):
        return True  # the store is its server, and no maildrop brings anything there
    is_read = bool(row.is_listed) and row.error is None and row.succeeded_at is not None and row.succeeded_at >= since
    return is_read and not wanted_bodies(
        conn, mailbox_id=of.mailbox_id, uidvalidity=row.uidvalidity, selections=(selection,), limit=1, now=now
    )


def _forms(conn: Connection, pairs: Mapping[int, int], bodies: Mapping[int, int]) -> Mapping[int, BodyForm]:
    """Return in which form each file has the octets of its message."""
    query = (
        select(journal.c.replica_message_id, body.c.id, journal.c.form)
        .join(body, body.c.digest == journal.c.digest)
        .where(journal.c.kind == FOUND, is_one_of(journal.c.replica_message_id, pairs))
    )
    known = {(file_id, body_id): form for file_id, body_id, form in conn.execute(query)}
    # NOTE: before this was recorded a form was only guessed; own is the one of which nothing is made.
    return {
        file_id: BodyForm(known.get((file_id, bodies[message_id])) or BodyForm.OWN)
        for file_id, message_id in pairs.items()
    }


def _record_identities(
    conn: Connection, of: ReplicaRow, may_be: Iterable[tuple[int, Identity]], *, account_id: int, now: float
) -> None:
    rows = [
        {
            "account_id": account_id,
            "mailbox_id": of.mailbox_id,
            "replica_message_id": file_id,
            "kind": FOUND,
            "digest": one.digest,
            "header_digest": one.header_digest,
            "size_bytes": one.size_bytes,
            "form": one.form,
            "uidvalidity": 0,
            "uidnext": 0,
            "begun_at": now,
        }
        for file_id, one in may_be
    ]
    insert_at_once(conn, journal, rows)


def _detach(conn: Connection, of: ReplicaRow, file_id: int, file: FoundFile) -> None:
    """Let the file of a message be a found one: it holds something else by now."""
    columns, base = replica_message.c, base_message.c
    was = select(columns.message_id).where(columns.id == file_id).scalar_subquery()
    conn.execute(delete(base_message).where(base.replica_id == of.id, base.message_id == was))
    conn.execute(update(replica_message).where(columns.id == file_id).values(missing_since=None, **_as_found(file)))
    conn.execute(delete(journal).where(journal.c.kind == FOUND, journal.c.replica_message_id == file_id))


def _as_found(file: FoundFile) -> dict[str, Any]:
    return {"state": ReplicaState.FOUND, "message_id": None, "version": 0, **values_of(file.seen)}


def begin_base(conn: Connection, of: ReplicaRow, agreed: Mapping[int, Flags]) -> None:
    """Agree on flags of messages that had no file in a replica."""
    base = base_message.c
    conn.execute(delete(base_message).where(base.replica_id == of.id, is_one_of(base.message_id, agreed)))
    rows = [{"replica_id": of.id, "message_id": id_, "flags": format_flags(flags)} for id_, flags in agreed.items()]
    insert_at_once(conn, base_message, rows)


def values_of(seen: Sighting) -> dict[str, Any]:
    """Return the columns of a row that say where a file is and what it is."""
    return {
        "info": seen.info,
        "subdir": seen.subdir,
        "flags": format_flags(seen.flags),
        "size_bytes": seen.size_bytes or 0,
        "mtime": seen.mtime or 0,
    }
