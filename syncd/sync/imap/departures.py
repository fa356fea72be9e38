"""Floor 4: messages that devices deleted, moved to Trash or expunged on an IMAP server, and proven to be gone.

Theory. MOVE cannot be made to depend on what was observed, so flags, size and date are read just before it: a message
that a person changed meanwhile stays, and if a UID names another message by now nothing is done at all. What is to be
expunged may have been read before (`foreseen`), for STORE can be made to depend on it. Only a search
afterwards says what is gone; what a command answered is a hint. Where COPY has to do, it is journaled before
(`copies`), for repeating it would put a second copy into Trash.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from sqlalchemy import Connection

from syncd.errors import Reach, RefusedError, SyncdError
from syncd.imap.answers.refusals import OF_TROUBLE
from syncd.imap.connection import ImapConnection
from syncd.imap.effects.expunges import Expunged, expunge_at_once, expunge_messages
from syncd.imap.effects.moves import Moved, move_messages
from syncd.imap.news.presence import still_there
from syncd.imap.types import FetchRow
from syncd.mail.uidset import EMPTY, UidSet
from syncd.reconcile.deletions import differ_personally
from syncd.reconcile.effects import Departure, Expunge, Move
from syncd.store.engine.database import Database
from syncd.store.trees import accounts, journal, server_tree
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.server_tree import ObservedMessage
from syncd.sync.imap.copies import begin, copied_already
from syncd.sync.imap.foreseen import Foreseen
from syncd.sync.imap.identity import RenumberedError, ensure_same, fetch_facts
from syncd.sync.imap.observed import observed_of
from syncd.sync.rounds.sides import Departed

_KEPT = "the server keeps the message"
_OWED = "expunging it is owed: other messages of the mailbox are marked as deleted, too"
_NO_TRASH = "the server has no Trash mailbox"


async def depart(
    db: Database,
    connection: ImapConnection,
    mailbox: MailboxRow,
    effects: Sequence[Departure],
    *,
    foreseen: Foreseen,
    now: float,
) -> Departed:
    """Take messages out of the selected mailbox, and tell which of them are proven to be gone."""
    by_uid = {effect.uid: effect for effect in effects}
    if connection.offers("UIDPLUS") and all(isinstance(effect, Expunge) for effect in effects):
        before = foreseen.take(connection, UidSet.of(by_uid))
        if before and (gone := await _expunged(db, connection, mailbox, before)) is not None:
            return Departed(gone=frozenset(effect.message_id for uid, effect in by_uid.items() if uid in gone))
    selection = connection.selection
    rows = await fetch_facts(connection, UidSet.of(by_uid))
    observed = observed_of(rows)
    await ensure_same(db, connection, mailbox, observed)
    changed = await db.read(partial(_changed, mailbox=mailbox, rows=rows))
    here = [by_uid[row.uid] for row in rows if row.uid in by_uid and row.uid not in changed]
    refused: dict[int, SyncdError] = {}
    moving = {effect.uid: effect.message_id for effect in here if isinstance(effect, Move)}
    is_copying = bool(moving) and not connection.offers("MOVE")
    copied: Collection[int] = ()
    if is_copying:
        copied = await copied_already(db, connection, mailbox, moving.values())
    owed = UidSet.of(one.uid for one in here if isinstance(one, Expunge) or one.message_id in copied)
    for to_id, uids in _targets(one for one in here if one.message_id not in copied).items():
        if to_id is None:
            refused |= {uid: RefusedError(_NO_TRASH, reach=Reach.MESSAGE) for uid in uids}
            continue
        target = await db.read(partial(accounts.mailbox_by_id, mailbox_id=to_id))
        if is_copying:
            await begin(db, connection, target, [moving[uid] for uid in uids], now=now)
        outcomes = await move_messages(connection, uids, target.wire_name)
        not_moved = [one for one in outcomes if one.moved is Moved.REFUSED]
        refused |= {one.uid: RefusedError(one.text or _KEPT, code=one.code, reach=Reach.MESSAGE) for one in not_moved}
        made = UidSet.of(one.uid for one in outcomes if one.moved is Moved.COPIED)
        owed |= made
        if is_copying:
            # NOTE: a server in trouble may have made one all the same, which is looked for the next time.
            not_made = [moving[one.uid] for one in not_moved if one.code not in OF_TROUBLE]
            await db.write(partial(journal.drop_copies, message_ids=not_made))
            await db.write(partial(journal.copies_made, message_ids=[moving[uid] for uid in made]))
    is_same, asked = connection.selection is selection, UidSet.of(by_uid)
    is_proven = await expunge_at_once(connection, owed, asked=asked)
    _ensure_same_mailbox(connection, mailbox)
    left = EMPTY if is_proven else await still_there(connection, asked)
    if owed & left:
        for expunged in await expunge_messages(connection, owed & left):
            if expunged.expunged is not Expunged.EXPUNGED:
                refused[expunged.uid] = RefusedError(expunged.text or _OWED, reach=Reach.MESSAGE)
        left = await still_there(connection, left)
    if not is_same:
        await connection.unselect()  # what was reported meanwhile is lost, so the next look begins with a SELECT
    for effect in here:
        if effect.uid in left:
            refused.setdefault(effect.uid, RefusedError(_KEPT, reach=Reach.MESSAGE))
    return Departed(
        gone=frozenset(effect.message_id for uid, effect in by_uid.items() if uid not in left),
        refused={by_uid[uid].message_id: error for uid, error in refused.items() if uid in left},
        record=partial(_record, mailbox=mailbox, observed=observed, now=now),
    )


async def _expunged(
    db: Database, connection: ImapConnection, mailbox: MailboxRow, before: Sequence[FetchRow]
) -> UidSet | None:
    """Expunge messages that are as they were when they were looked at, and return those that are gone.

    None, with nothing done, where they were not as they were known by then.
    """
    if not await db.read(partial(_are_as_known, mailbox=mailbox, rows=before)):
        return None
    uids, since = UidSet.of(row.uid for row in before), max(row.modseq or 0 for row in before)
    is_proven = await expunge_at_once(connection, uids, asked=uids, unchanged_since=since)
    _ensure_same_mailbox(connection, mailbox)
    return uids if is_proven else uids - await still_there(connection, uids)


def _ensure_same_mailbox(connection: ImapConnection, mailbox: MailboxRow) -> None:
    """Raise RenumberedError when the mailbox that was selected anew is another one: then nothing is proven."""
    if connection.selection is None or connection.selection.uidvalidity != mailbox.cursor.uidvalidity:
        raise RenumberedError("the server gave this mailbox a new uidvalidity")


def _record(conn: Connection, *, mailbox: MailboxRow, observed: Sequence[ObservedMessage], now: float) -> None:
    """Record how messages were just before; what a person changed of them is news."""
    server_tree.record_messages(conn, mailbox.id, mailbox.cursor.uidvalidity, observed, now=now, is_told=True)


def _targets(effects: Iterable[Departure]) -> Mapping[int | None, UidSet]:
    targets: dict[int | None, UidSet] = {}
    for effect in effects:
        if isinstance(effect, Move):
            targets[effect.to_id] = targets.get(effect.to_id, EMPTY) | UidSet.of([effect.uid])
    return targets


def _are_as_known(conn: Connection, *, mailbox: MailboxRow, rows: Sequence[FetchRow]) -> bool:
    """Tell whether messages are those that they were, and no person changed them since they were observed."""
    uidvalidity, observed = mailbox.cursor.uidvalidity, observed_of(rows)
    unlike = server_tree.unlike_messages(conn, mailbox_id=mailbox.id, uidvalidity=uidvalidity, observed=observed)
    return not (unlike or _changed(conn, mailbox=mailbox, rows=rows))


def _changed(conn: Connection, *, mailbox: MailboxRow, rows: Sequence[FetchRow]) -> UidSet:
    """Return the messages that a person changed since they were observed."""
    uids, uidvalidity = [row.uid for row in rows], mailbox.cursor.uidvalidity
    known = server_tree.flags_of(conn, mailbox_id=mailbox.id, uidvalidity=uidvalidity, uids=uids)
    return UidSet.of(
        row.uid
        for row in rows
        if row.flags is None or row.uid not in known or differ_personally(row.flags, known[row.uid])
    )
