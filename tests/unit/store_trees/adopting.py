"""Rows of files that were there before we were, planted in a grove."""

from sqlalchemy import select

from syncd.mail.flags import Flags
from syncd.mail.message import facts_of
from syncd.mail.tree import BodyForm
from syncd.reconcile.changes import Sighting
from syncd.reconcile.planner import Selection
from syncd.store.files import adoption, found_files
from syncd.store.files.adoption import KnownFile, Looked
from syncd.store.files.found_files import FoundFile, Identity
from syncd.store.tables.schema import base_message, replica_message
from syncd.store.trees import accounts, server_tree
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.server_tree import ObservedMessage
from tests.unit.store_trees.grove import NOW, Grove

SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"
ANY = Selection()


def octets(key: str) -> bytes:
    return f"Message-ID: <{key}@example.org>\r\n\r\n{key}\r\n".encode()


def sighting(name: str, *, flags: Flags = frozenset(), size_bytes: int = 20, mtime: int = 500) -> Sighting:
    return Sighting(name, "", "cur", flags, size_bytes, mtime)


def find(grove: Grove, of: ReplicaRow, *files: tuple[str, str], mtime: int = 500) -> None:
    """Record found files, each by its name and the key of what it holds, with its body in the store."""
    for _, key in files:
        grove.body(octets(key))
    found = [
        FoundFile(sighting(name, mtime=mtime, size_bytes=len(octets(key))), (identity(key),)) for name, key in files
    ]
    grove(lambda conn: found_files.record_found(conn, of, found, account_id=grove.account_id, now=NOW))


def identity(key: str, form: BodyForm = BodyForm.RAW) -> Identity:
    facts = facts_of([octets(key)])
    return Identity(facts.digest, facts.header_digest, facts.size_bytes, form)


def plant(grove: Grove, uid: int, key: str, *, has_body: bool = True, date: int = 500) -> int:
    """Put a message into INBOX, and return its row id."""
    grove.observe(ObservedMessage(uid, frozenset({SEEN}), 1, len(octets(key)), date))
    id_ = int(grove.message(uid).id)
    if has_body:
        body_id = grove.body(octets(key))
        grove(lambda conn: server_tree.bind_bodies(conn, grove.inbox, {id_: body_id}))
    return id_


def doubt(grove: Grove, of: ReplicaRow) -> ReplicaRow:
    grove(lambda conn: adoption.doubt(conn, of.device_id))
    return grove.replica(of)


def look(grove: Grove, of: ReplicaRow, *seen: Sighting, listed_at: float = NOW) -> int:
    """Unite a replica with a listing that has these files under their rows' names, and no others."""
    rows = grove(lambda conn: adoption.all_files(conn, of.id))
    by_name = {one.name: one for one in seen}
    there = [KnownFile(row, by_name[name], BodyForm.LF) for name, row in rows.items() if name in by_name]
    gone = [row for name, row in rows.items() if name not in by_name]
    return grove(lambda conn: adoption.unite(conn, of, Looked(there, (), gone, listed_at)))


def base(grove: Grove, of: ReplicaRow) -> dict[int, str]:
    query = select(base_message).where(base_message.c.replica_id == of.id)
    return {row.message_id: row.flags for row in grove.rows(query)}


def states(grove: Grove, of: ReplicaRow) -> dict[str, str]:
    query = select(replica_message).where(replica_message.c.replica_id == of.id)
    return {row.name: row.state for row in grove.rows(query)}


def succeed(grove: Grove, at: float) -> None:
    grove(lambda conn: accounts.record_success(conn, account_id=grove.account_id, now=at))
