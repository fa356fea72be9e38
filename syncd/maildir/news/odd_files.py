"""Floor 3: what lies among the messages of a mailbox and is none, or shares its name with another: it is shown."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from syncd.maildir.disk.files import MailboxDirectory
from syncd.maildir.naming.misnamed import readable
from syncd.maildir.news.observe import SeenFile
from syncd.values import Value

SHOWN_MAX = 100
"""Of so many in one mailbox it is told what they are: each is looked at by itself."""


class OddFile(Value):
    """Name what is left alone by its path below the root, as it can be shown, why it is, and what to do about it."""

    path: str
    why: str
    remedy: str


def empty_file(path: str) -> OddFile:
    """Say of a file that it has no octets."""
    return OddFile(readable(path), "it is empty, so it is no message", "remove it, or write its message into it")


def odd_files(mailbox: MailboxDirectory, alone: Iterable[SeenFile]) -> tuple[OddFile, ...]:
    """Say of files that a look left alone why it did, as far as they are there."""
    found: list[OddFile] = []
    for subdir, filename in sorted({(file.subdir, file.filename) for file in alone})[:SHOWN_MAX]:
        kind, path = mailbox.kind(subdir, filename), _path(mailbox.path, subdir, filename)
        if kind == "a file":
            why = "another file has the same name but for the flag letters, so nobody knows which is the message"
            found.append(OddFile(path, why, "give one of the two another name, or remove it"))
        elif kind is not None:
            remedy = "put the message itself there, or remove it" if kind == "a link" else "move it elsewhere"
            found.append(OddFile(path, f"it is {kind}, so it is no message", remedy))
    return tuple(found)


def is_any_of(told: Iterable[OddFile], directory: PurePosixPath, files: Iterable[SeenFile]) -> bool:
    """Tell whether any of the files of a mailbox is one of those that were told."""
    paths = {one.path for one in told}
    return bool(paths) and any(_path(directory, file.subdir, file.filename) in paths for file in files)


def _path(directory: PurePosixPath, subdir: str, filename: str) -> str:
    return readable(f"{directory}/{subdir}/{filename}")
