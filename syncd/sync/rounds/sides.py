"""Floor 4: what a round asks of the owners of the two sides, and what they answer."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from sqlalchemy import Connection

from syncd.errors import SyncdError
from syncd.mail.flags import Flags, with_delta
from syncd.mail.tree import Holdable, ReplicaMessage
from syncd.reconcile.effects import Departure, Move, Store
from syncd.reconcile.moves import Origin
from syncd.store.files.uploads import Upload
from syncd.store.rounds.deliveries import Deliverable, LinkSource
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.replica_tree import MintedFile
from syncd.sync.commons import Commons
from syncd.values import Value, field


class FileToDeliver(Value):
    """A file with the name that is committed for it.

    source: what to link, None to write. is_repeated: an earlier attempt may have got through.
    """

    file: ReplicaMessage
    body: Deliverable
    flags: Flags
    source: LinkSource | None
    is_repeated: bool


class FileToRename(Value):
    """A file and the flags that its name should say besides and no longer."""

    file: ReplicaMessage
    add: Flags
    remove: Flags

    @property
    def flags(self) -> Flags:
        """Return the flags that the file then has, if the device changes none meanwhile."""
        return with_delta(self.file.flags, add=self.add, remove=self.remove)


class FileToRemove(Value):
    """A file whose message is gone, or that its device does not take."""

    file: ReplicaMessage


FileTask = FileToDeliver | FileToRename | FileToRemove


class FileDone(Value):
    """A task that is on disk; info and subdir say where the file is now, and mean nothing after a removal.

    is_touched: the device changed the file as well, so look at it. info is then what it would be without that.
    """

    info: str | None
    subdir: str
    is_touched: bool = False


class FileStale(Value):
    """A task that the device forestalled: look at the file, then plan again."""


class FileFailed(Value):
    """A task that did not work, for a reason that reaches no further than its message."""

    error: SyncdError


FileOutcome = FileDone | FileStale | FileFailed


class ReplicaSide(Protocol):
    """The owner of a device's files, as a round needs it."""

    @property
    def commons(self) -> Commons:
        """Return what the device shares with others; a device that links nothing is alone in it."""

    def mint(self, of: ReplicaRow, wanted: Sequence[tuple[Deliverable, Flags]]) -> Sequence[MintedFile]:
        """Return names for files that are about to be delivered; nothing is written."""

    async def prepare(self, of: ReplicaRow, flags: Flags) -> Holdable:
        """Give each of these flags a letter in the replica while there are letters; return what it can hold."""

    async def perform(self, of: ReplicaRow, tasks: Sequence[FileTask], *, generation: int) -> Mapping[int, FileOutcome]:
        """Do the tasks, make them durable, raise the marker, and tell by row id how each went.

        A SyncdError says that nothing of the batch counts: it was not made durable.
        """

    async def look(self, of: ReplicaRow, names: Iterable[str]) -> int:
        """Observe these files, record what is seen, and return how many changes that were."""


class StoreOutcome(Value):
    """Tell what became of Store effects, by message id. In neither: changed on the server first, so plan again.

    record: does what is to be done in the transaction that settles it, before anything else.
    """

    done: frozenset[int] = frozenset()
    refused: Mapping[int, SyncdError] = field(default_factory=dict)
    record: Callable[[Connection], None] | None = None


class Departed(Value):
    """Tell what became of departures, by message id. gone: proven. In neither: changed on the server, so plan again.

    record: does what is to be done in the transaction that settles it, before messages are recorded as gone.
    """

    gone: frozenset[int] = frozenset()
    refused: Mapping[int, SyncdError] = field(default_factory=dict)
    record: Callable[[Connection], None] | None = None


class Placement(Value):
    """A file that a device added, and how it becomes a message of its mailbox: append, copy or move."""

    upload: Upload
    origin: Origin


class Brought(Value):
    """Tell what became of placements, by upload id. In neither: not seen in the mailbox, though it was not refused.

    record: writes the rows of the messages that are there, or are so by that, and returns them; None where there is
    none. rewritten: those to which the server gave other octets. gone: the sources, by message id, that are proven to
    be gone. left: with their UIDs, those that came, and are proven to have gone again since; `record` writes them, too.
    """

    record: Callable[[Connection], Mapping[int, int]] | None = None
    rewritten: frozenset[int] = frozenset()
    refused: Mapping[int, SyncdError] = field(default_factory=dict)
    gone: frozenset[int] = frozenset()
    left: Mapping[int, int] = field(default_factory=dict)


class ArrivalSide(Protocol):
    """The owner of an account's server, as files that become messages need it."""

    async def bring(self, target: MailboxRow, placements: Sequence[Placement]) -> Brought:
        """Bring files into a mailbox, and tell which of them are seen there."""

    async def find(self, target: MailboxRow, uploads: Sequence[Upload], *, late: Collection[int]) -> Brought:
        """Tell which of those that were begun before are seen in the mailbox, or were there and have left it.

        late: those of which that may be told by now; before, a server may still be at showing them.
        """


class ServerSide(Protocol):
    """The owner of an account's server, as a round needs it."""

    async def store(self, mailbox: MailboxRow, effects: Sequence[Store], *, modseq: int) -> StoreOutcome:
        """Change flags on the server, and record rows that it reports; modseq: up to which these messages are known."""

    async def depart(self, mailbox: MailboxRow, effects: Sequence[Departure]) -> Departed:
        """Take messages out of a mailbox of the server, all that are to go in one call, and record what it reports."""


class RoundResult(Value):
    """Tell what a round did. is_stale: somebody was faster, so some of it is to be planned again.

    planned: changes of devices. moved: what is in another mailbox of the server now. unseen: messages to put back,
    unless the server moved them. is_whole: it was only flags, and all of them were stored and settled. spared: devices
    to which nothing of that is news.
    """

    planned: int
    effects: int
    is_stale: bool
    moved: tuple[Move, ...] = ()
    unseen: frozenset[int] = frozenset()
    is_whole: bool = False
    spared: frozenset[str] = frozenset()
