"""Floor 3: what had the octets of a file before, in another mailbox, where its server can copy no message of them.

Theory. A program that moves or copies a file takes its letters along, and those of keywords mean others elsewhere. A
copy that the server makes has the keywords of its source. If the source went meanwhile, the octets are sent, and with
them the keywords that the message had where it was last.
"""

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from syncd.mail.flags import Flags, parse_flags, with_same_letters
from syncd.store.engine.queries import is_listed
from syncd.store.files.uploads import Upload
from syncd.store.tables.schema import mailbox, server_message
from syncd.values import Value, replace


class Predecessor(Value):
    """A message with the octets of a file, in another mailbox of its account; mostly one that is gone."""

    message_id: int
    flags: Flags


def predecessors(conn: Connection, uploads: Iterable[Upload], *, account_id: int) -> Mapping[int, Predecessor]:
    """Return by upload the message elsewhere that had the octets last, of those files of which there is any."""
    files = [one for one in uploads if one.own is not None and not one.is_restored]
    if not files:
        return {}
    found = conn.execute(_with_bodies(), {"ids": {one.body_id for one in files}, "of_account": account_id})
    rows = sorted(found, key=lambda row: (math.inf if row.went_at is None else row.went_at, row.id))
    return {
        one.id: Predecessor(row.id, parse_flags(row.flags))
        for row in rows
        for one in files
        if row.body_id == one.body_id and row.mailbox_id != one.mailbox_id
    }


def with_keywords_of(upload: Upload, predecessor: Predecessor) -> Upload:
    """Return a file with the keywords of the message that had its octets."""
    keywords = predecessor.flags - with_same_letters(predecessor.flags)
    return replace(upload, flags=with_same_letters(upload.flags) | keywords)


@cache
def _with_bodies() -> Select[Any]:
    message = server_message.c
    return (
        select(
            message.id,
            message.mailbox_id,
            message.body_id,
            message.flags,
            func.coalesce(message.gone_at, mailbox.c.gone_at).label("went_at"),
        )
        .join(mailbox, mailbox.c.id == message.mailbox_id)
        # NOTE: without the sum SQLite begins with all messages of the account instead of those of the bodies.
        .where(is_listed(message.body_id, "ids"), mailbox.c.account_id + 0 == bindparam("of_account"))
    )
