"""A store in which trees can be planted: rows by short calls, each in a transaction of its own."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, select, update

from syncd.mail.flags import Flags
from syncd.mail.mailbox import MailboxName
from syncd.mail.message import facts_of
from syncd.mail.tree import BodyForm, Pair, ReplicaState
from syncd.reconcile.mailboxes import Listed
from syncd.store.bodies import bodies
from syncd.store.bodies.encoding import encode
from syncd.store.engine.database import Database
from syncd.store.rounds import pairs
from syncd.store.rounds.pairs import Settled, Settlement
from syncd.store.tables.schema import replica_message, server_message
from syncd.store.trees import accounts, devices, replica_tree, server_tree
from syncd.store.trees.accounts import MailboxCursor
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.replica_tree import MintedFile
from syncd.store.trees.server_tree import ObservedMessage

T = TypeVar("T")
NOW = 1_000_000.0
UIDVALIDITY = 9


class Grove:
    """An account with INBOX and Archive, and the devices laptop and phone; the laptop has both, the phone INBOX."""

    def __init__(self, db: Database, name: str) -> None:
        """Take a name that no other grove has."""
        self.db = db
        self.account_id = self(lambda conn: accounts.ensure_account(conn, name, kind="imap", identity="x"))
        self.inbox, self.archive = (self._mailbox(mailbox) for mailbox in ("INBOX", "Archive"))
        self.laptop, self.phone = (self._replica(f"{name}-{device}", self.inbox) for device in ("laptop", "phone"))
        self.laptop_archive = self._replica(f"{name}-laptop", self.archive)

    def __call__(self, function: Callable[[Connection], T]) -> T:
        """Do something in a transaction."""
        return self.db.write_now(function)

    # Server.

    def observe(self, *messages: ObservedMessage, mailbox_id: int | None = None, now: float = NOW) -> None:
        where = mailbox_id or self.inbox
        self(lambda conn: server_tree.record_messages(conn, where, UIDVALIDITY, messages, now=now))

    def plant(self, *uids: int, flags: Flags = frozenset()) -> tuple[int, ...]:
        """Put messages into INBOX with their bodies, and return their row ids."""
        ids = self.plant_rows(*uids, flags=flags)
        body_id = self.body(b"Subject: of %d\r\n\r\n" % self.inbox)
        self(lambda conn: server_tree.bind_bodies(conn, self.inbox, dict.fromkeys(ids, body_id)))
        return ids

    def plant_rows(self, *uids: int, flags: Flags = frozenset(), mailbox_id: int | None = None) -> tuple[int, ...]:
        """Put messages into a mailbox, INBOX by default, whose bodies did not come yet, and return their row ids."""
        where = mailbox_id or self.inbox
        self.observe(*(ObservedMessage(uid, flags, 1, 20, 500 + uid) for uid in uids), mailbox_id=where)
        query = select(server_message.c.uid, server_message.c.id).where(server_message.c.mailbox_id == where)
        ids = {row.uid: int(row.id) for row in self.rows(query)}
        return tuple(ids[uid] for uid in uids)

    def body(self, octets: bytes) -> int:
        with encode(facts_of([octets]), [octets]) as encoded:
            return self(lambda conn: bodies.put_body(conn, encoded, now=NOW))

    def message(self, uid: int) -> Any:
        """Return a row of INBOX's server tree."""
        columns = server_message.c
        query = select(server_message).where(columns.mailbox_id == self.inbox, columns.uid == uid)
        return self(lambda conn: conn.execute(query).one())

    def version(self, mailbox_id: int | None = None) -> int:
        return self(lambda conn: accounts.mailbox_by_id(conn, mailbox_id=mailbox_id or self.inbox)).version

    # Replicas.

    def replica(self, of: ReplicaRow) -> ReplicaRow:
        """Return a replica's row as it is now."""
        return next(row for row in self(devices.replicas) if row.id == of.id)

    def deliver(self, of: ReplicaRow, *message_ids: int, flags: Flags = frozenset()) -> None:
        """Put files of messages into a replica, settled."""
        minted = [self.minted(of, message_id, flags) for message_id in message_ids]
        self(lambda conn: replica_tree.announce_deliveries(conn, of.id, minted))
        made = self(lambda conn: replica_tree.files_by_name(conn, of.id, [one.name for one in minted]))
        stand = tuple(Settled(made[one.name].id, one.message_id, "", "cur", flags) for one in minted)
        self(lambda conn: pairs.settle(conn, of, Settlement(delivered=stand), now=NOW))

    def minted(self, of: ReplicaRow, message_id: int, flags: Flags = frozenset()) -> MintedFile:
        return MintedFile(message_id, f"m{of.id}.{message_id}", None, "cur", flags, 20, 500, BodyForm.LF)

    def file(self, of: ReplicaRow, message_id: int) -> Any:
        """Return the row of a message's file."""
        columns = replica_message.c
        query = select(replica_message).where(columns.replica_id == of.id, columns.message_id == message_id)
        return self(lambda conn: conn.execute(query).one())

    def set_state(self, of: ReplicaRow, message_id: int, state: ReplicaState) -> None:
        columns = replica_message.c
        change = update(replica_message).where(columns.replica_id == of.id, columns.message_id == message_id)
        self(lambda conn: conn.execute(change.values(state=state)))

    def pair(self, of: ReplicaRow, message_id: int) -> Pair:
        return self(lambda conn: pairs.pairs_of(conn, of, [message_id]))[0]

    def server_news(self, of: ReplicaRow, *, limit: int = 1000) -> pairs.News:
        now = self.replica(of)
        return self(lambda conn: pairs.server_news(conn, now, limit=limit))

    def replica_news(self, of: ReplicaRow, *, limit: int = 1000) -> pairs.News:
        now = self.replica(of)
        return self(lambda conn: pairs.replica_news(conn, now, limit=limit))

    def rows(self, query: Any) -> list[Any]:
        return self(lambda conn: list(conn.execute(query)))

    def _mailbox(self, name: str) -> int:
        entry = Listed(name.encode(), MailboxName.parse(name), "/", frozenset(), is_selected=True)
        cursor = MailboxCursor(UIDVALIDITY, 1, 1, 0)
        return self(lambda conn: accounts.make_mailbox(conn, self.account_id, entry, cursor))

    def _replica(self, device: str, mailbox_id: int) -> ReplicaRow:
        row = self(lambda conn: devices.ensure_device(conn, device, path=f"/{device}", layout="maildir++"))
        self(lambda conn: devices.record_device_state(conn, row.id, state=devices.ACTIVE, error=None))
        directory = f".work.{mailbox_id}"
        self(lambda conn: devices.ensure_replica(conn, row.id, mailbox_id, directory=directory, selection=""))
        return next(one for one in self(devices.replicas) if (one.device_id, one.mailbox_id) == (row.id, mailbox_id))
