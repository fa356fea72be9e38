"""A mailbox on a device, read and changed as a mail program does: by its Maildir files alone."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.demo.letters import Fingerprint, Letter, fingerprint

_HEADER_BYTES = 8192


@dataclass(frozen=True, slots=True)
class MailFile:
    """A message in a Maildir; letters are those of its flags, sorted."""

    path: Path
    stem: str
    letters: str


@dataclass(slots=True)
class Replica:
    """One mailbox on one device."""

    directory: Path
    _strangers: set[tuple[str, str]] = field(default_factory=set)
    """Letter and file stem of files that were read and are not that letter."""

    def files(self) -> Iterator[MailFile]:
        """Yield every message; a mailbox that is not there yet has none."""
        for subdir in ("new", "cur"):
            try:
                with os.scandir(self.directory / subdir) as entries:
                    names = [entry.name for entry in entries]
            except FileNotFoundError:
                continue
            for name in names:
                stem, _, info = name.partition(":2,")
                yield MailFile(self.directory / subdir / name, stem, "".join(sorted(info)))

    def count(self) -> int:
        """Return how many messages there are."""
        return sum(1 for _ in self.files())

    def find(self, letter: Letter) -> MailFile | None:
        """Return the file of a letter; a file that was renamed while we looked is found at the next look."""
        for file in self.files():
            if (letter.name, file.stem) in self._strangers:
                continue
            try:
                with file.path.open("rb") as opened:
                    is_wanted = letter.message_id in opened.read(_HEADER_BYTES)
            except FileNotFoundError:
                continue
            if is_wanted:
                return file
            self._strangers.add((letter.name, file.stem))
        return None

    def shows(self, letter: Letter, letters: str) -> bool:
        """Tell whether the letter is there with exactly these flags."""
        file = self.find(letter)
        return file is not None and file.letters == letters

    def mark(self, letter: Letter, flag: str) -> None:
        """Add a flag, as a mail program does: move the file into cur/ under a name that says it."""
        file = self.find(letter)
        if file is None:
            raise FileNotFoundError(f"{letter.name} is not in {self.directory}")
        letters = "".join(sorted({*file.letters, flag}))
        file.path.rename(self.directory / "cur" / f"{file.stem}:2,{letters}")

    def reads(self, letter: Letter) -> bool:
        """Tell whether there is one file of the letter, and it has the letter's text."""
        texts = [octets for octets in map(_octets, self.files()) if letter.message_id in octets]
        return len(texts) == 1 and letter.text.encode() in texts[0]

    def write(self, letter: Letter, flags: str, *, instead_of: MailFile | None = None) -> MailFile:
        """Save a letter, as a mail program does: in tmp/ first; then the file of its older version goes."""
        stem = f"{time.time_ns()}.{letter.name}.here"
        made = self.directory / "tmp" / stem
        made.write_bytes(letter.octets().replace(b"\r\n", b"\n"))
        path = made.rename(self.directory / "cur" / f"{stem}:2,{flags}")
        if instead_of is not None:
            instead_of.path.unlink()
        return MailFile(path, stem, flags)

    def file_into(self, other: "Replica", letter: Letter) -> None:
        """Move a letter to another mailbox, as a mail program does."""
        file = self.find(letter)
        if file is None:
            raise FileNotFoundError(f"{letter.name} is not in {self.directory}")
        file.path.rename(other.directory / "cur" / f"{file.stem}:2,{file.letters}")

    def remove(self, letter: Letter) -> None:
        """Delete a letter, as a mail program does."""
        file = self.find(letter)
        if file is None:
            raise FileNotFoundError(f"{letter.name} is not in {self.directory}")
        file.path.unlink()

    def take_away(self, aside: Path) -> int:
        """Move all messages out of the replica; return how many."""
        files = [*self.files()]
        for subdir in ("new", "cur"):
            (aside / subdir).mkdir(parents=True)
        for file in files:
            file.path.rename(aside / file.path.parent.name / file.path.name)
        return len(files)

    def put_back(self, aside: Path) -> None:
        """Bring all back that was taken away."""
        for path in (*(aside / "new").iterdir(), *(aside / "cur").iterdir()):
            path.rename(self.directory / path.parent.name / path.name)

    def half_written(self) -> int:
        """Return how many files are in tmp/, where a delivery begins."""
        return sum(1 for _ in (self.directory / "tmp").iterdir())


def _octets(file: MailFile) -> bytes:
    try:
        return file.path.read_bytes()
    except FileNotFoundError:
        return b""


@dataclass(slots=True)
class Reader:
    """Read replicas completely; a file that several devices share is read once."""

    _digests: dict[tuple[int, int], bytes] = field(default_factory=dict)
    _sizes: dict[tuple[int, int], int] = field(default_factory=dict)

    def read(self, replica: Replica) -> Counter[Fingerprint]:
        """Return what the messages are, and how many of each."""
        return Counter(Fingerprint(self._digest(file.path), file.letters) for file in replica.files())

    @property
    def disk_bytes(self) -> int:
        """Return what all files read so far occupy on disk."""
        return sum(self._sizes.values())

    def _digest(self, path: Path) -> bytes:
        facts = path.stat()
        inode = (facts.st_dev, facts.st_ino)
        if inode not in self._digests:
            self._digests[inode] = fingerprint(path.read_bytes(), "").digest
            self._sizes[inode] = facts.st_blocks * 512
        return self._digests[inode]
