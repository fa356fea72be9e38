"""Floor 4: the letters that stand for keywords in each replica of one device."""

from functools import partial
from pathlib import Path, PurePosixPath

from syncd.mail.flags import Flags
from syncd.mail.tree import Holdable
from syncd.maildir.disk import dovecot
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.naming.names import holdable, unlisted_keywords
from syncd.store.engine.database import Database
from syncd.store.trees.devices import ReplicaRow, record_keywords
from syncd.sync.device.thread import to_its_end
from syncd.sync.policies import keyword_map, keyword_names


class KeywordLetters:
    """Know what letters mean; those that were once given are never forgotten, whatever becomes of the list of them."""

    def __init__(self, db: Database, path: Path) -> None:
        """Take the path of the device's root."""
        self._db = db
        self._path = path
        self._known: dict[int, KeywordMap] = {}

    def of(self, replica: ReplicaRow) -> KeywordMap:
        """Return the keyword letters of a replica as last read."""
        return self._known.get(replica.id) or keyword_map(replica.keywords)

    async def prepare(self, replica: ReplicaRow, flags: Flags) -> Holdable:
        """Give letters to keywords, as far as there are any left, and return what the replica can hold."""
        known = self.of(replica)
        if not unlisted_keywords(flags, known):
            return holdable(known)
        written = await to_its_end(partial(self._ensure, flags=flags, known=known), replica.directory)
        self._known[replica.id] = written
        names = keyword_names(written)
        await self._db.write(lambda conn: record_keywords(conn, replica.id, names, can_hold_more=False))
        return holdable(written)

    async def read(self, replica: ReplicaRow) -> bool:
        """Read the letters that the replica's own programs may have given; tell whether that changed any."""
        known = self.of(replica)
        found = await to_its_end(partial(self._read, known=known), replica.directory)
        self._known[replica.id] = found
        names = keyword_names(found)
        if names != replica.keywords:
            more = bool(set(names) - set(replica.keywords))
            await self._db.write(lambda conn: record_keywords(conn, replica.id, names, can_hold_more=more))
        return found != known

    def _read(self, directory: str, *, known: KeywordMap) -> KeywordMap:
        with ReplicaRoot(self._path) as root:
            return dovecot.read_keywords_ever_given(root, PurePosixPath(directory), known=known)

    def _ensure(self, directory: str, *, flags: Flags, known: KeywordMap) -> KeywordMap:
        with ReplicaRoot(self._path) as root:
            return dovecot.ensure_keywords(root, PurePosixPath(directory), flags, known=known)
