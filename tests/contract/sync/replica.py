"""One mailbox on one device, read and changed by its files alone, as any mail program does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from syncd.mail.flags import Flags
from tests.contract.sync.letters import key_of

_FLAGS = {
    "D": "\\Draft",
    "F": "\\Flagged",
    "P": "$Forwarded",
    "R": "\\Answered",
    "S": "\\Seen",
    "T": "\\Deleted",
}


_LISTINGS_MAX = 50


@dataclass(frozen=True, slots=True)
class MailFile:
    """A message in a Maildir. letters: sorted, as the name has them; mtime: whole seconds."""

    path: Path
    letters: str
    octets: bytes
    links: int
    inode: int
    mtime: int
    mode: int

    @property
    def stem(self) -> str:
        return self.path.name.partition(":2,")[0]


@dataclass(frozen=True, slots=True)
class Replica:
    """The directory of a mailbox."""

    directory: Path

    def files(self) -> Iterator[MailFile]:
        """Yield every message; a mailbox that is not there has none.

        NOTE: readdir may miss a file that is renamed meanwhile, under both names. So a listing counts only if the next
        one is the same, or when there is no rest to be had.
        """
        found: list[MailFile] = []
        for _ in range(_LISTINGS_MAX):
            paths = self._paths()
            try:
                found = [_read(path) for path in paths]
            except FileNotFoundError:
                continue
            if self._paths() == paths:
                break
        yield from found

    def keys(self) -> list[str]:
        """Return the keys of the letters, sorted; two copies of a letter are two keys."""
        return sorted(key_of(file.octets) for file in self.files())

    def flags(self) -> Mapping[str, Flags]:
        """Return what a mail program reads of each letter's flags, by its key; AssertionError for a doubled letter."""
        keywords = self.keywords()
        found: dict[str, Flags] = {}
        for file in self.files():
            key = key_of(file.octets)
            assert key not in found, f"{key} is there twice"
            found[key] = frozenset(filter(None, (_FLAGS.get(each) or keywords.get(each) for each in file.letters)))
        return found

    def keywords(self) -> Mapping[str, str]:
        """Return the keyword of each letter a to z."""
        path = self.directory / "dovecot-keywords"
        if not path.exists():
            return {}
        lines = (line.split(" ", 1) for line in path.read_text().splitlines())
        return {"abcdefghijklmnopqrstuvwxyz"[int(number)]: name for number, name in lines}

    def find(self, key: str) -> MailFile:
        """Return the file of a letter."""
        return next(file for file in self.files() if key_of(file.octets) == key)

    def mark(self, key: str, *, add: str = "", remove: str = "") -> None:
        """Change the letters of a file's name, as a mail program does, and move it to cur/."""
        file = self.find(key)
        letters = "".join(sorted({*file.letters, *add} - {*remove}))
        file.path.rename(self.directory / "cur" / f"{file.stem}:2,{letters}")

    def half_written(self) -> list[str]:
        """Return what is in tmp/, where a delivery begins."""
        return [path.name for path in (self.directory / "tmp").iterdir()]

    def _paths(self) -> list[Path]:
        in_cur = sorted(self._listed("cur"))
        names = {_name(path) for path in in_cur}
        # NOTE: listed after cur/, and without what is there too: a file that moves meanwhile is never two.
        in_new = sorted(path for path in self._listed("new") if _name(path) not in names)
        return [*in_new, *in_cur]

    def _listed(self, subdir: str) -> list[Path]:
        try:
            return list((self.directory / subdir).iterdir())
        except FileNotFoundError:
            return []


def _name(path: Path) -> str:
    return path.name.partition(":2,")[0]


def _read(path: Path) -> MailFile:
    facts = path.lstat()
    return MailFile(
        path=path,
        letters="".join(sorted(path.name.partition(":2,")[2])),
        octets=path.read_bytes(),
        links=facts.st_nlink,
        inode=facts.st_ino,
        mtime=int(facts.st_mtime),
        mode=facts.st_mode & 0o7777,
    )
