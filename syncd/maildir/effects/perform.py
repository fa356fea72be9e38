"""Floor 3: performing effects on a replica, in Maildir verbs: Deliver, Rename, Remove; one barrier for a batch.

Theory. An effect names a message by the part of its file name that never changes, and what the store believes
about its place and flags is a guess to find the file without a listing. A device may rename any file at any time,
so a file that is not where it was believed is looked for by a listing. Flags change by what is added and removed,
applied to the letters that the file has at that moment. Each verb may be repeated after a crash at any point.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, assert_never

from syncd.errors import DeviceAwayError, FileError, Reach, SyncdError, Temper
from syncd.mail.flags import NONE, Flags, with_delta
from syncd.maildir.disk.barrier import Touched
from syncd.maildir.disk.barrier import barrier as durable_barrier
from syncd.maildir.disk.files import CUR, NEW, FileFacts, LinkRefusal, MailboxDirectory, Renaming
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.naming.names import FileName, flags_of, joined, letters_of
from syncd.maildir.news.observe import Listing, SeenFile, listed
from syncd.values import Value

_LOOKS = 5
"""How often a file that moves under our eyes is looked for before the effect is left to the next round."""


class Place(Value):
    """Say where the store believes a file is: its directory, its name, and the subdir and flags it had."""

    directory: PurePosixPath
    name: str
    subdir: str
    flags: Flags


class LinkSource(NamedTuple):
    """Name another replica's confirmed file of the same body, form and INTERNALDATE."""

    root: Path
    directory: PurePosixPath
    subdir: str
    filename: str


class Deliver(NamedTuple):
    """Bring a message: into new/ when it has no letters, else into cur/.

    The name must be minted and committed before. octets: gives those of the file in pieces, anew at each call.
    size_bytes: of the file. mtime: INTERNALDATE. is_repeated: an earlier attempt may have got through, so look for the
    name first.
    """

    directory: PurePosixPath
    name: str
    flags: Flags
    mtime: int
    size_bytes: int
    octets: Callable[[], Iterable[bytes | memoryview]]
    link: LinkSource | None = None
    is_repeated: bool = False


class Rename(Value):
    """Change flags of a message, whatever others it has by now."""

    place: Place
    add: Flags = NONE
    remove: Flags = NONE


class Remove(Value):
    """Take a message away, unless it is not the recorded file, or has other flags; commit it as withdrawn before."""

    place: Place
    expected: FileFacts


Effect = Deliver | Rename | Remove


class Done(NamedTuple):
    """The effect is in place and durable.

    file and facts: of the file now, None when there is none any more. refusal: why a link that was offered
    was not made; a source that changed was edited in place.
    """

    file: SeenFile | None
    facts: FileFacts | None
    is_linked: bool = False
    refusal: LinkRefusal | None = None


class Stale(Value):
    """The device changed the file meanwhile: observe it again, nothing was done."""


class Failed(Value):
    """The effect could not be done; its error says what that concerns."""

    error: SyncdError


Outcome = Done | Stale | Failed


def perform(
    root: ReplicaRoot,
    effects: Sequence[Effect],
    *,
    keywords: Callable[[PurePosixPath], KeywordMap],
    barrier: Callable[[ReplicaRoot, Iterable[Touched]], None] = durable_barrier,
) -> tuple[Outcome, ...]:
    """Do the effects of a batch in their order and return each one's outcome, in the same order.

    keywords: gives the map of a mailbox directory. FileError when the barrier fails: then nothing counts as done,
    and what was delivered is withdrawn so that it will be written anew. After an error that reaches the
    device, the rest of the batch is not tried.
    """
    outcomes: list[Outcome] = []
    stopped: Failed | None = None
    batch = _Batch(root, keywords)
    try:
        for effect in effects:
            outcome = stopped or batch.outcome(effect)
            if isinstance(outcome, Failed) and outcome.error.reach is Reach.DEVICE:
                stopped = outcome
            outcomes.append(outcome)
        try:
            barrier(root, batch.touched)
        except SyncdError:
            batch.withdraw()
            raise
    finally:
        batch.close()
    return tuple(outcomes)


class _Found(NamedTuple):
    file: SeenFile
    facts: FileFacts


class _Batch:
    """Keep what the effects of a batch share: the directory at hand, listings, and what the barrier must cover."""

    def __init__(self, root: ReplicaRoot, keywords: Callable[[PurePosixPath], KeywordMap]) -> None:
        self.touched: list[Touched] = []
        self._root = root
        self._keywords = keywords
        self._at_hand: MailboxDirectory | None = None
        self._source_at_hand: tuple[Path, MailboxDirectory] | None = None
        self._listings: dict[PurePosixPath, tuple[Listing, dict[str, SeenFile]]] = {}
        self._delivered: list[tuple[PurePosixPath, SeenFile]] = []

    def close(self) -> None:
        if self._at_hand is not None:
            self._at_hand.close()
        if self._source_at_hand is not None:
            self._source_at_hand[1].close()

    def outcome(self, effect: Effect) -> Outcome:
        try:
            match effect:
                case Deliver():
                    return self._deliver(effect)
                case Rename():
                    return self._rename(effect)
                case Remove():
                    return self._remove(effect)
                case _:
                    assert_never(effect)
        except SyncdError as error:
            return Failed(error)

    def withdraw(self) -> None:
        """Take away what was delivered but may not be on disk, as far as it still has the name we gave it."""
        for directory, file in self._delivered:
            try:
                self._mailbox(directory).remove(file.subdir, file.filename)
            except SyncdError:
                continue

    def _deliver(self, effect: Deliver) -> Outcome:
        mailbox = self._mailbox(effect.directory)
        letters = letters_of(effect.flags, self._keywords(effect.directory))
        subdir = CUR if letters else NEW
        filename = joined(effect.name, letters or None)
        target = SeenFile(effect.name, subdir, filename)
        if effect.is_repeated:
            found = self._find(mailbox, target)
            if isinstance(found, Stale):
                return found
            if found is not None:
                return self._deliver_again(mailbox, effect, target, found)
            mailbox.discard_tmp(effect.name)
        refusal = None if effect.link is None else self._link(mailbox, target, effect, effect.link)
        if effect.link is not None and refusal is None:
            self._delivered.append((effect.directory, target))
            self._touch(mailbox, target, with_octets=True)
            return Done(target, FileFacts(effect.size_bytes, effect.mtime), is_linked=True)
        facts = self._write(mailbox, effect)
        match mailbox.publish(effect.name, subdir=subdir, filename=filename):
            case Renaming.DONE:
                self._delivered.append((effect.directory, target))
                self._touch(mailbox, target, with_octets=True)
                return Done(target, facts, refusal=refusal)
            case Renaming.TAKEN:
                mailbox.discard_tmp(effect.name)
                there = mailbox.stat(subdir, filename)
                if isinstance(there, FileFacts):
                    return self._deliver_again(mailbox, effect, target, _Found(target, there))
                raise _in_the_way()
            case Renaming.GONE:
                raise FileError("a file went away from tmp", reach=Reach.MESSAGE, temper=Temper.RETRY)

    def _deliver_again(self, mailbox: MailboxDirectory, effect: Deliver, target: SeenFile, found: _Found) -> Outcome:
        """Settle with a file that an earlier attempt left: whole, torn, or edited by the device."""
        file, facts = found
        # NOTE: what we write has its mtime before it has its name, so only a shorter file can be torn.
        is_torn = facts.size_bytes < effect.size_bytes
        if not is_torn and facts != FileFacts(effect.size_bytes, effect.mtime):
            return Stale()
        done = Done(file, facts)
        if is_torn:
            mailbox.discard_tmp(effect.name)
            done = Done(file, self._write(mailbox, effect))
            mailbox.replace(effect.name, subdir=file.subdir, filename=file.filename)
        if file == target:
            self._delivered.append((effect.directory, file))
        self._touch(mailbox, file, with_octets=True)
        return done

    def _write(self, mailbox: MailboxDirectory, effect: Deliver) -> FileFacts:
        """Write the file into tmp/ and return its facts."""
        facts = mailbox.write_tmp(effect.name, effect.octets(), mtime=effect.mtime)
        if facts.size_bytes != effect.size_bytes:
            mailbox.discard_tmp(effect.name)
            raise FileError("a body is not as long as recorded", reach=Reach.MESSAGE)
        return facts

    def _link(
        self, mailbox: MailboxDirectory, target: SeenFile, effect: Deliver, source: LinkSource
    ) -> LinkRefusal | None:
        try:
            from_mailbox = self._source(source)
        except (FileError, DeviceAwayError):
            return LinkRefusal.GONE
        return mailbox.link(
            target.subdir,
            target.filename,
            from_mailbox,
            source_subdir=source.subdir,
            source_filename=source.filename,
            expected=FileFacts(effect.size_bytes, effect.mtime),
        )

    def _rename(self, effect: Rename) -> Outcome:
        place = effect.place
        mailbox = self._mailbox(place.directory)
        keywords = self._keywords(place.directory)
        for _ in range(_LOOKS):
            found = self._find(mailbox, self._believed(place))
            if not isinstance(found, _Found):
                return Stale()
            file, facts = found
            flags = flags_of(file.letters, keywords)
            wanted = with_delta(flags, add=effect.add, remove=effect.remove)
            self._touch(mailbox, file)
            if letters_of(wanted, keywords) == letters_of(flags, keywords):
                return Done(file, facts)
            filename = str(FileName.parse(file.filename).with_flags(wanted, keywords))
            match mailbox.rename(file.subdir, file.filename, to_subdir=CUR, to_filename=filename):
                case Renaming.DONE:
                    renamed = SeenFile(file.name, CUR, filename)
                    self._touch(mailbox, renamed)
                    return Done(renamed, facts)
                case Renaming.TAKEN:
                    raise _in_the_way()
                case Renaming.GONE:
                    continue
        return Stale()

    def _remove(self, effect: Remove) -> Outcome:
        place = effect.place
        mailbox = self._mailbox(place.directory)
        keywords = self._keywords(place.directory)
        letters = letters_of(place.flags, keywords)
        for _ in range(_LOOKS):
            found = self._find(mailbox, self._believed(place))
            if found is None:
                self._touch(mailbox, self._believed(place))
                return Done(None, None)
            if isinstance(found, Stale) or found.facts != effect.expected:
                return Stale()
            if letters_of(flags_of(found.file.letters, keywords), keywords) != letters:
                return Stale()  # what the device has just said of it may be stronger than a deletion
            self._touch(mailbox, found.file)
            if mailbox.remove(found.file.subdir, found.file.filename):
                return Done(None, None)
        return Stale()

    def _believed(self, place: Place) -> SeenFile:
        letters = letters_of(place.flags, self._keywords(place.directory))
        info = None if place.subdir == NEW and not letters else letters
        return SeenFile(place.name, place.subdir, joined(place.name, info))

    def _find(self, mailbox: MailboxDirectory, believed: SeenFile) -> _Found | Stale | None:
        """Return a file of this name; None when a complete listing had none, Stale when unsure."""
        guess: SeenFile | None = believed
        for _ in range(_LOOKS):
            if guess is not None:
                facts = mailbox.stat(guess.subdir, guess.filename)
                if isinstance(facts, FileFacts):
                    return _Found(guess, facts)
                if guess is not believed:
                    del self._listings[mailbox.path]
            listing, by_name = self._listing(mailbox)
            if any(odd.name == believed.name for odd in listing.odd):
                raise _in_the_way()
            guess = by_name.get(believed.name)
            if guess is None:
                if listing.is_complete:
                    return None
                del self._listings[mailbox.path]
        return Stale()

    def _listing(self, mailbox: MailboxDirectory) -> tuple[Listing, dict[str, SeenFile]]:
        if mailbox.path not in self._listings:
            listing = listed(mailbox)
            self._listings[mailbox.path] = (listing, {file.name: file for file in listing.files})
        return self._listings[mailbox.path]

    def _touch(self, mailbox: MailboxDirectory, file: SeenFile, *, with_octets: bool = False) -> None:
        self.touched.append(Touched(mailbox.path, file.subdir, file.filename if with_octets else None))
        if mailbox.path in self._listings:
            self._listings[mailbox.path][1][file.name] = file

    def _mailbox(self, directory: PurePosixPath) -> MailboxDirectory:
        if self._at_hand is None or self._at_hand.path != directory:
            opened = self._root.mailbox(directory)
            if self._at_hand is not None:
                self._at_hand.close()
            self._at_hand = opened
        return self._at_hand

    def _source(self, source: LinkSource) -> MailboxDirectory:
        at_hand = self._source_at_hand
        if at_hand is None or at_hand[0] != source.root or at_hand[1].path != source.directory:
            with ReplicaRoot(source.root) as root:
                opened = root.mailbox(source.directory)
            if at_hand is not None:
                at_hand[1].close()
            self._source_at_hand = (source.root, opened)
            return opened
        return at_hand[1]


def _in_the_way() -> FileError:
    return FileError("something else has the name of a message", reach=Reach.MESSAGE)
