"""Floor 4: bodies of messages that we moved ourselves, bound where they are now without a download.

Theory. A message that came to the target has the size and the INTERNALDATE of the one that was moved; when the digest
of its whole header, which is fetched, is that one's as well, its body is in the store already. Whatever is not certain,
such as two bodies that fit, is downloaded like any other.
"""

from collections.abc import Collection
from contextlib import aclosing
from functools import partial

from syncd.imap.connection import ImapConnection
from syncd.imap.headers import Header
from syncd.log import log
from syncd.mail.message import facts_of
from syncd.mail.uidset import UidSet
from syncd.store import moved_bodies, server_tree
from syncd.store.accounts import MailboxRow
from syncd.store.database import Database


async def bind_moved(
    db: Database, connection: ImapConnection, target: MailboxRow, message_ids: Collection[int]
) -> None:
    """Bind the bodies of messages that were moved to the selected mailbox; message_ids: their rows in the source."""
    find = partial(moved_bodies.arrivals, mailbox_id=target.id, message_ids=message_ids)
    arrived = {one.uid: one for one in await db.read(find)}
    bound: dict[int, int] = {}
    async with aclosing(connection.fetch_headers(UidSet.of(arrived))) as headers:
        async for header in headers:
            if isinstance(header, Header):
                one = arrived[header.uid]
                fitting = one.bodies.get(facts_of([header.octets]).header_digest, frozenset())
                if len(fitting) == 1:
                    bound[one.message_id] = next(iter(fitting))
    if bound:
        await db.write(partial(server_tree.bind_bodies, mailbox_id=target.id, bodies=bound))
        log.info("bodies_bound", mailbox_id=target.id, count=len(bound))
