"""Floor 4: what was brought into a mailbox of an IMAP server, and has left it before anybody saw it there.

Theory. Another client may move a message on, or delete it, between the answer to a command and the look for what that
did. What the server said to have taken and is not seen has its UID in the journal. If that is below the UIDNEXT of the
same UIDVALIDITY some seconds later, and a search finds nothing under it, the server gave it and the message has left.
It is recorded as one that was there and is gone, with its body, and so follows what others did, like any; brought again
it would be there twice, or come back. A UID that a server only made up is above UIDNEXT still, or names another
message; if it is gone by then as well, the octets can be restored. Gmail keeps one message of a Message-ID and gives a
UID to the next one all the same, so where another is there nothing is concluded. And what a server said just
before syncd is killed is not in the journal: that is brought again.
"""

from collections.abc import Iterable, Mapping
from functools import partial

from sqlalchemy import Connection

from syncd.imap.connection import ImapConnection
from syncd.imap.news.presence import still_there
from syncd.mail.uidset import UidSet
from syncd.store.engine.database import Database
from syncd.store.files import upload_candidates
from syncd.store.files.uploads import Upload
from syncd.store.trees import server_tree
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.server_tree import ObservedMessage


async def left_again(
    db: Database, connection: ImapConnection, target: MailboxRow, unseen: Iterable[Upload]
) -> Mapping[int, Upload]:
    """Return by UID those that have left a mailbox, which was just selected."""
    told = {one.told_uid: one for one in unseen if one.told_uid is not None and one.told_uid >= one.uidnext}
    uidnext = connection.selection.uidnext if connection.selection is not None else None
    if not told or uidnext is None:
        return {}
    strange = await db.read(partial(_not_seen_at_all, target=target, told=told))
    given = UidSet.of(uid for uid in strange if uid < uidnext)
    return {uid: told[uid] for uid in given - await still_there(connection, given)}


def as_sent(conn: Connection, mailbox: MailboxRow, left: Mapping[int, Upload]) -> list[ObservedMessage]:
    """Return messages as they were; what was moved or copied had the date of its source."""
    body_ids = {one.body_id for one in left.values()}
    dates = upload_candidates.dates_of(conn, account_id=mailbox.account_id, body_ids=body_ids)
    return [
        ObservedMessage(uid, one.flags, 0, one.size_bytes, dates.get(one.body_id, one.mtime))
        for uid, one in left.items()
    ]


def _not_seen_at_all(conn: Connection, *, target: MailboxRow, told: Mapping[int, Upload]) -> UidSet:
    """Return the UIDs that nobody knows, of messages that do not seem to be there under another."""
    of, uidvalidity = target.id, target.cursor.uidvalidity
    body_ids = [one.body_id for one in told.values()]
    alike = upload_candidates.alike_in(conn, mailbox_id=of, uidvalidity=uidvalidity, body_ids=body_ids)
    known = server_tree.message_ids_of(conn, mailbox_id=of, uidvalidity=uidvalidity, uids=told)
    return UidSet.of(uid for uid, one in told.items() if uid not in known and one.body_id not in alike)
