"""Floor 4: files that went from a device because it moved or rewrote them, which is no deletion.

Theory. What a device adds is not synced yet, so a message whose file went while another file of it came must stay where
it is on the server: were the one half synced without the other, a move would end in Trash. Another file of a message is
one that a program added to any mailbox of the same account, with the name or the Message-ID of the file that went.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

from syncd.errors import FileError
from syncd.mail.message import HEADER_MAX_BYTES, BodyReader
from syncd.mail.tree import ReplicaMessage
from syncd.maildir.names import FileName
from syncd.maildir.root import ReplicaRoot
from syncd.store import deletions
from syncd.store.database import Database
from syncd.store.deletions import AddedFile

_COMPARED_MAX = 1000
"""So many added files, the newest, are read for their Message-ID."""


class UnsyncedMoves:
    """Know the Message-IDs of the files that a device added; for its task."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._message_ids: dict[int, str | None] = {}

    async def added(self, device_id: int, account_id: int) -> Sequence[AddedFile]:
        """Return what the device added to the mailboxes of an account, the newest first."""
        return await self._db.read(
            partial(deletions.added_files, device_id=device_id, account_id=account_id, limit=_COMPARED_MAX)
        )

    def read(self, root: ReplicaRoot, added: Sequence[AddedFile]) -> None:
        """Read the Message-IDs that are not known yet; for a thread."""
        known = {file.file_id: self._message_ids[file.file_id] for file in added if file.file_id in self._message_ids}
        self._message_ids = known | {
            file.file_id: _message_id(root, file) for file in added if file.file_id not in known
        }

    async def moved(self, rows: Mapping[str, ReplicaMessage], added: Sequence[AddedFile]) -> frozenset[int]:
        """Return the files, by row id, that went while another of their message came."""
        names = {file.name for file in added}
        message_ids = {self._message_ids.get(file.file_id) for file in added} - {None}
        ids = [row.message_id for row in rows.values() if row.message_id is not None]
        known = await self._db.read(partial(deletions.message_ids, ids=ids)) if message_ids else {}
        return frozenset(
            row.id
            for name, row in rows.items()
            if name in names or (row.message_id is not None and known.get(row.message_id) in message_ids)
        )


def _message_id(root: ReplicaRoot, file: AddedFile) -> str | None:
    reader = BodyReader()
    left_bytes = HEADER_MAX_BYTES
    try:
        with root.mailbox(PurePosixPath(file.directory)) as mailbox:
            for piece in mailbox.pieces(file.subdir, str(FileName(file.name, file.info))):
                reader.feed(piece)
                left_bytes -= len(piece)
                if left_bytes <= 0:
                    break
    except FileError:
        return None  # it went on, and is looked at again
    return reader.facts().message_id
