"""Floor 4: what a round wants done to files, as the maildir floor takes it, and what came of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import assert_never

from sqlalchemy import Connection

from syncd.mail.message import lf_pieces
from syncd.mail.paths import path_of
from syncd.mail.tree import BodyForm, ReplicaMessage
from syncd.maildir.disk.files import FileFacts
from syncd.maildir.effects import perform as verbs
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.naming.names import FileName, flags_of, joined, letters_of
from syncd.store.bodies import bodies
from syncd.store.rounds.deliveries import Deliverable
from syncd.sync.rounds.sides import (
    FileDone,
    FileFailed,
    FileOutcome,
    FileStale,
    FileTask,
    FileToDeliver,
    FileToRemove,
    FileToRename,
)

_path = lru_cache(maxsize=64)(Path)
"""A batch is of one directory, and a path is made in as long as a file is linked."""


def effect_of(
    task: FileTask, directory: PurePosixPath, pieces: Callable[[Deliverable], Iterator[bytes | memoryview]]
) -> verbs.Effect:
    """Return what is done to a file of this directory; pieces: gives the octets that a file of a body has."""
    file = task.file
    match task:
        case FileToDeliver(body=body, source=source):
            link = None
            if source is not None:
                link = verbs.LinkSource(
                    _path(source.origin.device_path),
                    path_of(source.origin.directory),
                    source.subdir,
                    joined(source.name, source.info),
                )
            return verbs.Deliver(
                directory,
                file.name,
                task.flags,
                mtime=file.mtime,
                size_bytes=file.size_bytes,
                octets=lambda: pieces(body),
                link=link,
                is_repeated=task.is_repeated,
            )
        case FileToRename(add=add, remove=remove):
            return verbs.Rename(_place(directory, file), add, remove)
        case FileToRemove():
            expected = FileFacts(file.size_bytes, file.mtime)
            return verbs.Remove(_place(directory, file), expected)
        case _:
            assert_never(task)


def outcome_of(task: FileTask, outcome: verbs.Outcome, keywords: KeywordMap) -> FileOutcome:
    """Return what became of a task; keywords: what the letters in names mean."""
    match outcome:
        case verbs.Failed(error):
            return FileFailed(error)
        case verbs.Stale():
            return FileStale()
        case verbs.Done(file=file):
            if file is None:
                return FileDone(None, task.file.subdir)
            expected = task.file.flags if isinstance(task, FileToRemove) else task.flags
            letters = letters_of(expected, keywords)
            if file.filename == joined(file.name, letters or None):
                return FileDone(letters or None, file.subdir)
            name = FileName.parse(file.filename)
            if flags_of(name.letters, keywords) == flags_of(letters, keywords):
                return FileDone(name.info, file.subdir)
            # NOTE: the name that the row gets is not the one on disk, so that every look finds what the device
            # did, should we be stopped before the one that follows.
            return FileDone(letters, file.subdir, is_touched=True)
        case _:
            assert_never(outcome)


def _place(directory: PurePosixPath, file: ReplicaMessage) -> verbs.Place:
    return verbs.Place(directory, file.name, file.subdir, file.flags)


def read_for_files(conn: Connection, *, wanted: Mapping[int, Deliverable]) -> Mapping[int, bytes]:
    """Return what files of these bodies have, by id; each is let go of as the store has it once that is made."""
    found = bodies.read_bodies(conn, ids=wanted)
    return {id_: b"".join(file_pieces((found.pop(id_),), wanted[id_])) for id_ in tuple(found)}


def file_pieces(pieces: Iterable[bytes], body: Deliverable) -> Iterable[bytes]:
    """Yield the pieces of a body as its file has them."""
    return lf_pieces(pieces) if body.form is BodyForm.LF else pieces
