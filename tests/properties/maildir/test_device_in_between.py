"""A device that renames, deletes and edits between our effects: nothing of its doing is undone or lost."""

import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from syncd.mail.flags import NONE, SYSTEM, Flags
from syncd.maildir.disk.files import FileFacts
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.effects.perform import Deliver, Done, Effect, Outcome, Place, Remove, Rename, Stale, perform
from syncd.maildir.naming.keywords import KeywordMap
from syncd.maildir.naming.names import FileName, flags_of, letters_of
from syncd.maildir.news.observe import SeenFile, list_mailbox

BOX = PurePosixPath(".work.INBOX")
BODY = b"A: b\n\nhello\n"
NAME = "1.R0123456789abcdef.syncd,S=12,W=15"
FACTS = FileFacts(len(BODY), 1000)
KEYWORDS = KeywordMap(((0, "work"), (2, "$Forwarded")))
flags_sets = st.frozensets(st.sampled_from(sorted(SYSTEM | {"work", "$Forwarded"})))


class DeviceInBetween(RuleBasedStateMachine):
    """Hold one message of one mailbox, what the device has made of it, and a belief that may be out of date."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="syncd-test-"))
        self.root = ReplicaRoot(self.base)
        self.root.create(BOX).close()
        self.believed = Place(BOX, NAME, "new", NONE)
        self.octets: bytes | None = None
        self.flags: Flags = NONE

    def teardown(self) -> None:
        self.root.close()
        shutil.rmtree(self.base)

    @rule(flags=flags_sets)
    def deliver(self, flags: Flags) -> None:
        """Deliver, not knowing whether it was done before."""
        before = self.octets
        effect = Deliver(BOX, NAME, flags, FACTS.mtime, len(BODY), lambda: [BODY], is_repeated=True)

        outcome = self._perform(effect)

        if before is None:
            self.octets, self.flags = BODY, flags
        elif len(before) > len(BODY):
            assert outcome == Stale()
        else:
            self.octets = BODY if len(before) < len(BODY) else before
        assert isinstance(outcome, Done | Stale)
        self._believe(outcome)

    @rule(add=flags_sets, remove=flags_sets)
    def change_flags(self, add: Flags, remove: Flags) -> None:
        """Change flags of a file that may be elsewhere by now."""
        outcome = self._perform(Rename(self.believed, add=add, remove=remove))

        if self.octets is None:
            assert outcome == Stale()
        else:
            self.flags = (self.flags - remove) | add
            self._believe(outcome)

    @rule()
    def remove(self) -> None:
        """Remove the recorded file, and only that, as long as it says what is believed."""
        outcome = self._perform(Remove(self.believed, FACTS))

        is_as_believed = self.octets is None or self.flags == self.believed.flags
        if self.octets in {None, BODY} and self._is_dated() and is_as_believed:
            assert outcome == Done(None, None)
            self.octets, self.flags = None, NONE
        else:
            assert outcome == Stale()

    @precondition(lambda self: self.octets is not None)
    @rule(flags=flags_sets, other=st.sampled_from(["", "Z", "zQ"]))
    def device_renames(self, flags: Flags, other: str) -> None:
        """Let the device set flags, and letters that nobody else knows."""
        file = self._file()
        info = "".join(sorted(letters_of(flags, KEYWORDS) + other))
        self._path(file).rename(self.base / BOX / "cur" / str(FileName(NAME, info)))
        self.flags = flags

    @precondition(lambda self: self.octets is not None)
    @rule()
    def device_deletes(self) -> None:
        self._path(self._file()).unlink()
        self.octets, self.flags = None, NONE

    @precondition(lambda self: self.octets is not None)
    @rule(octets=st.sampled_from([b"", BODY[:5], BODY[::-1], BODY * 2]))
    def device_edits(self, octets: bytes) -> None:
        """Let the device, or a power cut, change the octets in place."""
        path = self._path(self._file())
        path.write_bytes(octets)
        os.utime(path, (2000, 2000))
        self.octets = octets

    @invariant()
    def one_file_or_none_as_expected(self) -> None:
        """There is never a second file, octets and flags are the last ones given, and tmp/ is empty."""
        listing = list_mailbox(self.root, BOX)
        assert len(listing.files) == (self.octets is not None)
        assert list((self.base / BOX / "tmp").iterdir()) == []
        for file in listing.files:
            assert self._path(file).read_bytes() == self.octets
            assert flags_of(file.letters, KEYWORDS) == self.flags

    def _perform(self, effect: Effect) -> Outcome:
        return perform(self.root, [effect], keywords=lambda _: KEYWORDS, barrier=lambda *_: None)[0]

    def _believe(self, outcome: Outcome) -> None:
        if isinstance(outcome, Done) and outcome.file is not None:
            file = outcome.file
            self.believed = Place(BOX, NAME, file.subdir, flags_of(file.letters, KEYWORDS))

    def _file(self) -> SeenFile:
        return list_mailbox(self.root, BOX).files[0]

    def _path(self, file: SeenFile) -> Path:
        return self.base / BOX / file.subdir / file.filename

    def _is_dated(self) -> bool:
        files = list_mailbox(self.root, BOX).files
        return not files or int(self._path(files[0]).stat().st_mtime) == FACTS.mtime


TestDeviceInBetween = DeviceInBetween.TestCase
TestDeviceInBetween.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
