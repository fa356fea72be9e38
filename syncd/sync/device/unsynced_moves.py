"""Floor 4: files that went from a device while it moves or rewrites them, which is no deletion.

Theory. A message whose file went while another file of it came must stay where it is until that one is taken into the
store: then it is known what it is. Another file of a message is one that a program added to any mailbox of the same
account, with the name or the Message-ID of the file that went; it may be empty still, or not to be read for a while.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

from syncd.errors import FileError, Reach
from syncd.mail.message import HEADER_MAX_BYTES, BodyReader
from syncd.mail.tree import ReplicaMessage
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.names import FileName
from syncd.store.engine.database import Database
from syncd.store.files import deletions
from syncd.store.files.added_files import AddedFile, added_files

COMPARED_MAX = 20_000
"""How many added files are compared with those that went; with more, nothing can be told."""


class UnsyncedMoves:
    """Know the Message-IDs of the files that a device added; for its task."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._message_ids: dict[int, str | None] = {}

    async def added(self, device_id: int, account_id: int) -> Sequence[AddedFile]:
        """Return what the device added to the mailboxes of an account, or more of it than is compared."""
        return await self._db.read(
            partial(added_files, device_id=device_id, account_id=account_id, limit=COMPARED_MAX + 1, with_found=True)
        )

    def read(self, root: ReplicaRoot, added: Sequence[AddedFile]) -> None:
        """Read the Message-IDs that are not known yet; for a thread."""
        known = {file.file_id: self._message_ids[file.file_id] for file in added if file.file_id in self._message_ids}
        for file in added:
            if file.file_id not in known:
                try:
                    known[file.file_id] = _message_id(root, file)
                except FileError as error:
                    if error.reach is not Reach.MESSAGE:
                        known[file.file_id] = None  # it may not be read, and waiting does not help
        self._message_ids = known

    async def moved(self, rows: Mapping[str, ReplicaMessage], added: Sequence[AddedFile]) -> frozenset[int]:
        """Return the files, by row id, that went while another of their message came, or may have come.

        An added file that was renamed or changed while it was read leaves that open until the next look.
        """
        if len(added) > COMPARED_MAX or any(file.file_id not in self._message_ids for file in added):
            return frozenset(row.id for row in rows.values())
        names = {file.name for file in added}
        message_ids = {self._message_ids[file.file_id] for file in added} - {None}
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
    with root.mailbox(PurePosixPath(file.directory)) as mailbox:
        for piece in mailbox.pieces(file.subdir, str(FileName(file.name, file.info))):
            reader.feed(piece)
            left_bytes -= len(piece)
            if left_bytes <= 0:
                break
    return reader.facts().message_id
