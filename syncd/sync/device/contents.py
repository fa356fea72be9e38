"""Floor 4: what files hold, read from a replica: the bodies that their octets may be."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from syncd.errors import FileError, Reach
from syncd.mail.message import BodyFacts, BodyReader, crlf_pieces, facts_of, untagged_pieces
from syncd.mail.tree import BodyForm
from syncd.maildir.disk.files import FileFacts, MailboxDirectory
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.names import FileName
from syncd.reconcile.changes import Sighting
from syncd.store.bodies.encoding import CHUNK_BYTES, EncodedBody, encode
from syncd.store.files.found_files import Identity
from syncd.sync.bounded import BATCH_BYTES, BATCH_FILES, bounded
from syncd.values import Opaque, replace


class Content(Opaque):
    """A file that was read; raw: its octets as they are; wire: with CRLF at the end of every line.

    untagged: as wire, without the line that mbsync adds; the same where there is none.
    octets: of a small one, as they are.
    """

    seen: Sighting
    raw: BodyFacts
    wire: BodyFacts
    untagged: BodyFacts
    octets: bytes | None

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Return the bodies that the file may be, first the one that the store is given of it."""
        each = dict.fromkeys((self.untagged, self.wire, self.raw))
        return tuple(
            Identity(facts.digest, facts.header_digest, facts.size_bytes, self._form(facts.digest)) for facts in each
        )

    def form_of(self, digest: bytes) -> BodyForm | None:
        """Return in which form the file has the octets of a body, None if it does not."""
        known = {self.untagged.digest, self.wire.digest, self.raw.digest}
        return self._form(digest) if digest in known else None

    def with_line_of_mbsync(self) -> "Content":
        """Return the file as one that is given to the store with all that is in it."""
        return replace(self, untagged=self.wire)

    def _form(self, digest: bytes) -> BodyForm:
        if digest == self.raw.digest:
            return BodyForm.RAW
        is_lf = self.wire.is_crlf and self.wire.lf_size_bytes == self.raw.size_bytes
        return BodyForm.LF if digest == self.wire.digest and is_lf else BodyForm.OWN


def batches(seen: Iterable[Sighting]) -> Iterator[Sequence[Sighting]]:
    """Return files in batches of which one fits into memory; large ones are read in pieces."""

    def in_memory_bytes(one: Sighting) -> int:
        size_bytes = one.size_bytes or 0
        return size_bytes if size_bytes <= CHUNK_BYTES else 0

    return bounded(seen, in_memory_bytes, count=BATCH_FILES, size_bytes=BATCH_BYTES)


def read_contents(root: ReplicaRoot, directory: PurePosixPath, seen: Iterable[Sighting]) -> list[Content]:
    """Read files of one mailbox; those that are not as they were seen any more, or hold nothing, are left out."""
    contents: list[Content] = []
    with root.mailbox(directory) as mailbox:
        for one in seen:
            try:
                content = _read(mailbox, one)
            except FileError as error:
                if error.reach is not Reach.MESSAGE:
                    raise
                continue
            if content is not None:
                contents.append(content)
    return contents


def encoded_bodies(root: ReplicaRoot, directory: PurePosixPath, contents: Iterable[Content]) -> tuple[EncodedBody, ...]:
    """Return the bodies as the store wants them, with CRLF and untagged; the caller closes them.

    FileError or StoreError if a large file was changed meanwhile.
    """
    made: list[EncodedBody] = []
    try:
        with root.mailbox(directory) as mailbox:
            for one in contents:
                pieces = _pieces(mailbox, one.seen) if one.octets is None else (one.octets,)
                wire = crlf_pieces(pieces)
                made.append(encode(one.untagged, wire if one.untagged is one.wire else untagged_pieces(wire)))
    except BaseException:
        for body in made:
            body.close()
        raise
    return tuple(made)


def _read(mailbox: MailboxDirectory, seen: Sighting) -> Content | None:
    if not seen.size_bytes:
        return None
    octets: bytes | None = None
    if seen.size_bytes <= CHUNK_BYTES:
        octets = b"".join(_pieces(mailbox, seen))
        raw, wire = facts_of((octets,)), facts_of(crlf_pieces((octets,)))
        untagged = facts_of(untagged_pieces(crlf_pieces((octets,)))) if b"X-TUID: " in octets else wire
    else:
        readers = BodyReader(), BodyReader(), BodyReader()
        for piece in untagged_pieces(_fed(readers[1], crlf_pieces(_fed(readers[0], _pieces(mailbox, seen))))):
            readers[2].feed(piece)
        raw, wire, untagged = (reader.facts() for reader in readers)
    is_as_seen = mailbox.stat(seen.subdir, _filename(seen)) == FileFacts(seen.size_bytes, seen.mtime or 0)
    return Content(seen, raw, wire, wire if untagged == wire else untagged, octets) if is_as_seen else None


def _fed(reader: BodyReader, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        reader.feed(piece)
        yield piece


def _pieces(mailbox: MailboxDirectory, seen: Sighting) -> Iterator[bytes]:
    return mailbox.pieces(seen.subdir, _filename(seen))


def _filename(seen: Sighting) -> str:
    return str(FileName(seen.name, seen.info))
