"""One random walk: what people and programs do to mail on a server and on three devices, with faults in between.

Theory. Each step is chosen by one generator among what is there to be chosen, so a seed repeats a walk as far as the
engine, which runs beside it, does the same in the same time. What could not be done, because the engine was faster, is
not in the ledger.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from syncd.errors import SyncdError
from tests.contract.sync.house import House
from tests.contract.sync.tap import Tap
from tests.servers.delivery import quoted
from tests.walk.faults import Faults
from tests.walk.ledger import WEB, Deed, Ledger, Verb
from tests.walk.mailbox_steps import MailboxSteps, is_free
from tests.walk.rest import Rest
from tests.walk.world import ANCHOR, MAILBOXES, OnDevice, OnServer, World, noted

LETTERS = {"S": "\\Seen", "F": "\\Flagged", "R": "\\Answered"}
KEYWORDS = ("todo", "project", "$Junk")
Step = Callable[[], Any]
_BATCH_S = 0.5
One = TypeVar("One", OnServer, OnDevice)


class Walker:
    """Walk in a house that was entered."""

    def __init__(
        self, world: World, tap: Tap, rng: random.Random, *, releases: bool, with_mailboxes: bool = True
    ) -> None:
        """Release what the guard holds, if it holds anything; else it is to hold nothing but whole mailboxes.

        with_mailboxes: they come, go and are renamed as well, and devices select others.
        """
        self._with_mailboxes = with_mailboxes
        self.world = world
        self.house: House = world.house
        self.rng = rng
        self.ledger = Ledger()
        self.trace: list[str] = []
        self._number = 0
        self._faults = Faults(world.house, world.provider.server, tap, rng, tell=self._tell)
        steps = MailboxSteps(world, self._faults, self.ledger, rng, device=self._device, tell=self._tell)
        self._rest = Rest(world, self._faults, self.ledger, steps.mailboxes, rng, releases=releases, tell=self._tell)
        self._steps: dict[Step, int] = {
            self._receive: 4,
            self._web_mark: 5,
            partial(self._web_transfer, Verb.WEB_MOVE, "MOVE"): 4,
            partial(self._web_transfer, Verb.WEB_COPY, "COPY"): 2,
            self._web_expunge: 2,
            self._mark: 6,
            self._keyword: 2,
            self._delete: 4,
            self._move: 5,
            self._move_by_copy: 2,
            self._copy: 2,
            self._add: 4,
            self._replace_draft: 3,
            self._edit: 1,
            self._rename: 2,
            self._faults.restart: 1,
            self._faults.stop_or_start: 1,
            self._faults.cut_wire: 1,
            self._faults.go_or_come: 1,
            self._faults.take_out_or_put_back: 1,
        }
        if with_mailboxes:
            self._steps |= {steps.web_make: 2, steps.web_rename: 3, steps.web_remove: 2}
            self._steps |= {steps.make: 3, steps.rename: 4, steps.remove: 3}

    def begin(self) -> None:
        """Fill the mailboxes, each with a message that nobody takes away."""
        for mailbox in MAILBOXES:
            self._deliver(f"{ANCHOR}-{mailbox}", mailbox, ("todo", "project"))
        for _ in range(8):
            self._receive()

    async def walk(self, steps: int) -> None:
        """Do as many steps, and come to rest now and then."""
        await self._rest.come()
        for _ in range(steps):
            chosen = self.rng.choices(list(self._steps), list(self._steps.values()))[0]
            done = chosen()
            if isinstance(done, Awaitable):
                await done
            await self._pace()
            if self.rng.random() < 0.12:
                await self._rest.come()
                if self._with_mailboxes and self.rng.random() < 0.4:
                    await self._faults.select_otherwise()
        await self._rest.come()

    async def _pace(self) -> None:
        """Let the engine do nothing, a little, or one whole pass of one task."""
        pace = self.rng.random()
        if pace < 0.45:
            return
        if pace < 0.7:
            await asyncio.sleep(self.rng.random() * 0.06)
            return
        with suppress(SyncdError):
            await self.house.ask(self.rng.choice(["work", *self.house.config.devices]))

    def _tell(self, what: str) -> None:
        self.trace.append(what)

    def _named(self, kind: str) -> str:
        self._number += 1
        return f"{kind}{self._number}"

    def _deed(self, key: str, deed: Deed) -> None:
        self.ledger.deed(key, deed)
        self._tell(f"{key}: {deed}")

    # Choices.

    def _device(self) -> str | None:
        here = [device for device in self.house.config.devices if device not in self._faults.away]
        return self.rng.choice(here) if here else None

    def _choose_on_server(self, *, places: bool) -> OnServer | None:
        if not self._faults.is_server_up:
            return None
        return self._chosen(self.world.on_server(), WEB, places=places)

    def _choose_on_device(self, *, places: bool, mailbox: str | None = None) -> tuple[str, OnDevice] | None:
        device = self._device()
        if device is None:
            return None
        files = [one for one in self.world.on_device(device) if mailbox in {None, one.mailbox}]
        chosen = self._chosen(files, device, places=places)
        return None if chosen is None else (device, chosen)

    def _chosen(self, found: list[One], actor: str, *, places: bool) -> One | None:
        """Choose a message, more often one at which something was done already."""
        may_be = [one for one in found if self._may(one.key, actor, places=places)]
        warm = [one for one in may_be if self.ledger.entries[one.key].deeds or self.ledger.entries[one.key].marks]
        among = warm if warm and self.rng.random() < 0.35 else may_be
        return self.rng.choice(among) if among else None

    def _may(self, key: str, actor: str, *, places: bool) -> bool:
        if key.startswith("strange"):
            return False
        entry = self.ledger.entries[key]
        if not places:
            return not entry.is_frozen
        return not key.startswith(ANCHOR) and entry.may_be_placed(actor)

    def _other_mailbox(self, mailbox: str, here: Iterable[str]) -> str:
        """Choose another mailbox of those that are here, and not about to go."""
        return self.rng.choice(sorted(one for one in here if one != mailbox and (one in MAILBOXES or is_free(one))))

    # What happens on the server.

    def _receive(self) -> None:
        if self._faults.is_server_up:
            flags = self.rng.choice([(), (), ("\\Seen",), ("todo",), ("\\Seen", "\\Flagged")])
            mailbox = "INBOX" if self.rng.random() < 0.3 else self._other_mailbox("", self.world.mailboxes_of_server())
            self._deliver(self._named("m"), mailbox, flags)

    def _deliver(self, key: str, mailbox: str, flags: tuple[str, ...]) -> None:
        self.world.provider.receive_raw([self.world.octets.letter(key)], mailbox=mailbox, flags=flags)
        self.ledger.entries[key].flags = frozenset(flags)
        self._deed(key, Deed(WEB, Verb.ADD, to=mailbox))

    def _web_mark(self) -> None:
        one = self._choose_on_server(places=False)
        if one is not None:
            flag = self.rng.choice([*LETTERS.values(), *KEYWORDS])
            is_set = flag not in one.flags
            if self.world.change(one, "STORE", f"{'+' if is_set else '-'}FLAGS.SILENT", f"({flag})"):
                self._mark_told(one.key, WEB, one.mailbox, flag, is_set=is_set)

    def _web_transfer(self, verb: Verb, command: str) -> None:
        one = self._choose_on_server(places=True)
        if one is not None:
            to = self._other_mailbox(one.mailbox, self.world.mailboxes_of_server())
            if self.world.change(one, command, quoted(to)):
                self._deed(one.key, Deed(WEB, verb, one.mailbox, to))

    def _web_expunge(self) -> None:
        one = self._choose_on_server(places=True)
        if one is not None and self.world.change(one, "STORE", "+FLAGS.SILENT", "(\\Deleted)"):
            self.world.change(one, "EXPUNGE")
            self._deed(one.key, Deed(WEB, Verb.EXPUNGE, one.mailbox))

    def _mark_told(self, key: str, actor: str, mailbox: str, flag: str, *, is_set: bool) -> None:
        self.ledger.mark(key, actor, flag, is_set=is_set)
        self._tell(f"{key}: {actor}: {'+' if is_set else '-'}{flag} in {mailbox}")

    # What happens on a device, by its files alone.

    def _mark(self) -> None:
        if (found := self._choose_on_device(places=False)) is not None:
            device, one = found
            letter, flag = self.rng.choice(list(LETTERS.items()))
            self._toggle(device, one, letter, flag)

    def _keyword(self) -> None:
        if (found := self._choose_on_device(places=False)) is not None:
            device, one = found
            known = self.house.replica(device, one.mailbox).keywords()
            if known:
                self._toggle(device, one, *self.rng.choice(sorted(known.items())))

    def _toggle(self, device: str, one: OnDevice, letter: str, flag: str) -> None:
        is_set = letter not in one.file.letters
        letters = "".join(sorted({*one.file.letters} ^ {letter}))
        if _renamed(one.file.path, self._cur(device, one.mailbox) / f"{one.file.stem}:2,{letters}"):
            self._mark_told(one.key, device, one.mailbox, flag, is_set=is_set)

    def _delete(self) -> None:
        if (found := self._choose_on_device(places=True)) is not None:
            device, one = found
            if _removed(one.file.path):
                self._deed(one.key, Deed(device, Verb.DELETE, one.mailbox))

    def _move(self) -> None:
        if (found := self._choose_on_device(places=True)) is not None:
            device, one = found
            to = self._other_mailbox(one.mailbox, self.world.mailboxes_of_device(device))
            if _renamed(one.file.path, self._cur(device, to).parent / one.file.path.parent.name / one.file.path.name):
                self._deed(one.key, Deed(device, Verb.MOVE, one.mailbox, to))

    async def _move_by_copy(self) -> None:
        """Move as mutt does: a copy under another name, with notes in its header, then the original is removed."""
        if (found := self._choose_on_device(places=True)) is not None:
            device, one = found
            to = self._other_mailbox(one.mailbox, self.world.mailboxes_of_device(device))
            if self._write(device, to, noted(one.file.octets), letters=one.file.letters) is None:
                return
            copied = Deed(device, Verb.COPY, one.mailbox, to)
            if self.rng.random() < 0.4:
                await self._pace()
            here = self.house.replica(device, one.mailbox).files()
            path = next((file.path for file in here if file.stem == one.file.stem), None)
            if path is None or not _removed(path):
                self._deed(one.key, copied)
            else:
                self._deed(one.key, Deed(device, Verb.MOVE, one.mailbox, to))

    def _copy(self) -> None:
        if (found := self._choose_on_device(places=True)) is not None:
            device, one = found
            to = self._other_mailbox("", self.world.mailboxes_of_device(device))
            if self._write(device, to, one.file.octets, letters=one.file.letters) is not None:
                self._deed(one.key, Deed(device, Verb.COPY, one.mailbox, to))

    def _add(self) -> None:
        device = self._device()
        if device is not None:
            mailbox, letters = self.rng.choice([("Drafts", "D"), ("Drafts", "DS"), ("Sent", "S"), ("INBOX", None)])
            key = self._named(device[0])
            self._write(device, mailbox, self.world.octets.letter(key), letters=letters)
            flags = {"D": "\\Draft", "S": "\\Seen"}
            self.ledger.entries[key].flags = frozenset(flags[letter] for letter in letters or "")
            self._deed(key, Deed(device, Verb.ADD, to=mailbox))

    def _replace_draft(self) -> None:
        """Save a newer version of a draft in another file, and remove the old one."""
        found = self._choose_on_device(places=True, mailbox="Drafts")
        if found is not None and self._is_single(found[0], found[1].key):
            device, one = found
            key, octets = self._newer(one)
            copy = self._write(device, "Drafts", octets, letters=one.file.letters)
            try:
                one.file.path.unlink()
            except FileNotFoundError:
                if copy is not None:
                    copy.unlink()
            else:
                self._deed(one.key, Deed(device, Verb.REPLACE, "Drafts"))
                self._deed(key, Deed(device, Verb.ADD, to="Drafts"))
                self._freeze(one.key, key)

    def _edit(self) -> None:
        """Change a file in place: in Drafts a newer version, elsewhere another message."""
        found = self._choose_on_device(places=True)
        if found is not None and self._is_single(found[0], found[1].key):
            device, one = found
            path = one.file.path
            if _is_news(path):
                return
            key, octets = self._newer(one)
            try:
                with path.open("r+b") as file:
                    file.write(octets)
                    file.truncate()
            except FileNotFoundError:
                return
            if one.mailbox == "Drafts":
                self._deed(one.key, Deed(device, Verb.REPLACE, "Drafts"))
            self._deed(key, Deed(device, Verb.ADD, to=one.mailbox))
            self._rest.edited.add(key)
            self._freeze(one.key, key)

    def _rename(self) -> None:
        """Give a file another name, as some programs do when they restart."""
        if (found := self._choose_on_device(places=True)) is not None:
            device, one = found
            name = self._file_name(device, one.file.letters)
            if _renamed(one.file.path, self._cur(device, one.mailbox) / name):
                self._deed(one.key, Deed(device, Verb.RENAME, one.mailbox, one.mailbox))

    def _newer(self, one: OnDevice) -> tuple[str, bytes]:
        key = self._named(f"{one.key.partition('+')[0]}+v")
        return key, self.world.octets.known(key, one.file.octets + f"changed for {key}\n".encode())

    def _is_single(self, device: str, key: str) -> bool:
        entry = self.ledger.entries[key]
        return len(entry.begun) == 1 and {deed.actor for deed in entry.deeds} <= {device, WEB} and not entry.placing

    def _freeze(self, *keys: str) -> None:
        for key in keys:
            self.ledger.entries[key].is_frozen = True

    def _write(self, device: str, mailbox: str, octets: bytes, *, letters: str | None) -> Path | None:
        """Write a file as programs do, in tmp, then renamed, into new/ without letters; None if the mailbox went."""
        directory, name = self._cur(device, mailbox).parent, self._file_name(device, letters)
        made = directory / "tmp" / name.partition(":")[0]
        try:
            made.write_bytes(octets.replace(b"\r\n", b"\n"))
            return made.rename(directory / ("new" if letters is None else "cur") / name)
        except FileNotFoundError:
            return None

    def _file_name(self, device: str, letters: str | None) -> str:
        self._number += 1
        base = f"17000{self._number:05}.R{self._number}.{device}"
        return base if letters is None else f"{base}:2,{letters}"

    def _cur(self, device: str, mailbox: str) -> Path:
        return self.house.replica(device, mailbox).directory / "cur"


def _is_news(path: Path) -> bool:
    """Tell whether the watch may tell that a file came, or got another name, at once with what is written into it."""
    try:
        return time.time() - path.stat().st_ctime < _BATCH_S
    except FileNotFoundError:
        return True


def _renamed(path: Path, to: Path) -> bool:
    """Rename a file unless it is gone by now or another has the name."""
    if to.exists():
        return False
    try:
        path.rename(to)
    except FileNotFoundError:
        return False
    return True


def _removed(path: Path) -> bool:
    """Remove a file unless it is gone by now."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
