"""Floor 4: the rolls of a device: names in its directories that are known to be as their rows say.

Theory (law 5). To compare a listing with rows, as many rows are read as there are files. With the names in memory under
which each file was as its row says, a listing is compared as a set, and rows are read of the names that came or went,
of rows of which something waits, and of *open* names: those that were not as their rows say when they were last looked
at, or of which rows or files may have changed since. A row gets another place only by the task that looks, which opens
its name; what others do to rows by themselves they do to rows of which something waits. So a row whose file is not
where the row has it is always read.

House rules. Nothing is concluded from a name that is remembered: what is missing is looked for in the listing itself.
A roll is never stored, and of two minds about it there is none: then all rows are read.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from syncd.maildir.disk.files import CUR, NEW
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.news.observe import ChangedNs, Names, SeenFile
from syncd.store.trees.devices import ReplicaRow
from syncd.values import Record, field

_OPEN_MAX = 5_000
"""With more open names, all rows are read as fast: there is no such roll."""
_NAMES_MAX = 250_000
"""How many names are remembered of one device: about 15 MB."""


class Roll(Record):
    """Remember what a listing of a directory had.

    changed_ns: the times of the directory and of its list of keywords, if by these a later look tells that nothing
    changed. listed_at, ours_at: when it was listed, and when we changed it since, by the clock of the event loop.
    """

    directory: str
    keywords: KeywordMap
    changed_ns: ChangedNs | None
    listed_at: float
    ours_at: float | None = None
    count: int = 0
    open: set[SeenFile] = field(default_factory=set)
    _packed: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Return how many names it keeps, the open ones beside the others."""
        return self.count + len(self.open)

    def remember(self, names: Names, *, without: Iterable[SeenFile]) -> None:
        """Remember names, but for those that are not as their rows say, or are no files: they stay open."""
        self.open = set(without)
        for subdir, there in ((NEW, names.new), (CUR, names.cur)):
            known = there.difference(file.filename for file in self.open if file.subdir == subdir)
            self.count += len(known)
            # NOTE: one text takes half the memory of many, and a hundredth of a second to take apart.
            self._packed[subdir] = "\0".join(known)

    def differences(self, names: Names) -> tuple[Sequence[SeenFile], Sequence[SeenFile]]:
        """Return what has names that are not remembered, and the names that are remembered and nothing has."""
        came: list[SeenFile] = []
        went: list[SeenFile] = []
        for subdir, there in ((NEW, names.new), (CUR, names.cur)):
            known = self._known(subdir)
            new = there - known
            came += (SeenFile.of(subdir, filename) for filename in new if not filename.startswith("."))
            if len(there) - len(new) < len(known):
                went += (SeenFile.of(subdir, filename) for filename in known - there)
        return came, went

    def _known(self, subdir: str) -> set[str]:
        packed = self._packed[subdir]
        known = set(packed.split("\0")) if packed else set()
        known.difference_update(file.filename for file in self.open if file.subdir == subdir)
        return known


class Rolls:
    """Keep the rolls of one device, by replica: of those that were listed last, as many as are worth the memory."""

    def __init__(self) -> None:
        self._rolls: OrderedDict[int, Roll] = OrderedDict()
        self._size = 0

    def __iter__(self) -> Iterator[Roll]:
        return iter(self._rolls.values())

    def clear(self) -> None:
        self._rolls.clear()
        self._size = 0

    def drop(self, replica_id: int) -> None:
        if (roll := self._rolls.pop(replica_id, None)) is not None:
            self._size -= roll.size

    def get(self, of: ReplicaRow, keywords: KeywordMap) -> Roll | None:
        """Return the roll of a replica, None when there is none, or its letters mean something else by now."""
        roll = self._rolls.get(of.id)
        return roll if roll is not None and (roll.directory, roll.keywords) == (of.directory, keywords) else None

    def kept(self, replica_id: int) -> Roll | None:
        """Return the roll of a replica, whatever its letters mean."""
        return self._rolls.get(replica_id)

    def put(self, replica_id: int, roll: Roll) -> None:
        """Keep a roll in place of the one before, if it is worth it."""
        self.drop(replica_id)
        if len(roll.open) > _OPEN_MAX:
            return
        self._rolls[replica_id] = roll
        self._size += roll.size
        while self._size > _NAMES_MAX:
            self._size -= self._rolls.popitem(last=False)[1].size

    def open(self, replica_id: int, files: Iterable[SeenFile]) -> None:
        """Let these files be compared with their rows at the next listing, whatever is known of them."""
        if (roll := self._rolls.get(replica_id)) is None:
            return
        before = roll.size
        roll.open.update(files)
        self._size += roll.size - before
        if len(roll.open) > _OPEN_MAX:
            self.drop(replica_id)
