"""One message on a server and in some replicas, and rounds over them that can be interrupted: the engine in small."""

from dataclasses import dataclass, field
from typing import assert_never

from syncd.mail.flags import NONE, Flags, with_delta
from syncd.mail.tree import BaseMessage, BodyForm, Holdable, Pair, ReplicaMessage, ReplicaState, ServerMessage
from syncd.reconcile.deletions import ForGood, ToTrash, is_personal
from syncd.reconcile.effects import Agree, Deliver, Effect, Expunge, Forget, Move, Remove, Rename, Restore, Store
from syncd.reconcile.planner import Policy, Selection, merge, plan


@dataclass(slots=True)
class Copy:
    """A replica's file and base. file: the flags that its name says; announced: those of a delivery under way.

    known: the flags that the row of a file has that is not there; is_deleted: a second look did not find it either.
    """

    holdable: Holdable
    base: Flags | None = None
    file: Flags | None = None
    announced: Flags | None = None
    known: Flags | None = None
    is_deleted: bool = False


@dataclass(slots=True)
class World:
    """The server's message and its copies."""

    holdable: Holdable
    copies: list[Copy]
    server: Flags = NONE
    is_gone: bool = False
    trash: int = 0
    """How often the message is in Trash."""
    deletion: ToTrash | ForGood = field(default_factory=ForGood)

    def pair(self, number: int) -> Pair:
        copy = self.copies[number]
        server = ServerMessage(1, 10, self.server, 1, 1, 1, 1, is_gone=self.is_gone)
        base = None if copy.base is None else BaseMessage(copy.base)
        file = None
        if copy.announced is not None or copy.file is not None:
            state = ReplicaState.PRESENT if copy.announced is None else ReplicaState.DELIVERING
            flags = copy.announced if copy.announced is not None else copy.file
            assert flags is not None
            file = ReplicaMessage(number, 1, "n", None, "cur", flags, state, 1, 1, BodyForm.LF, 1)
        elif copy.known is not None:
            state = ReplicaState.DELETED if copy.is_deleted else ReplicaState.MISSING
            file = ReplicaMessage(number, 1, "n", None, "cur", copy.known, state, 1, 1, BodyForm.LF, 1)
        return Pair(server, base, file)

    def plan(self, number: int) -> tuple[Effect, ...]:
        """Return what one replica and the server ask for now."""
        return plan(self.pair(number), Policy(self.holdable, self.copies[number].holdable, Selection(), self.deletion))

    def announce(self, number: int, effect: Effect) -> None:
        """Commit what is about to be delivered."""
        copy = self.copies[number]
        if isinstance(effect, Deliver) and copy.announced is None:
            copy.announced, copy.known, copy.is_deleted = effect.flags, None, False

    def lose(self, number: int) -> None:
        """Let a device remove its file, and a look miss it."""
        copy = self.copies[number]
        if copy.file is not None and copy.base is not None and copy.announced is None:
            copy.known, copy.file = copy.file, None

    def look_again(self, number: int) -> None:
        """Let a second look conclude."""
        copy = self.copies[number]
        copy.is_deleted = copy.is_deleted or copy.known is not None

    def put_back(self, number: int) -> None:
        """Let a device put its file back, and a look find it."""
        copy = self.copies[number]
        if copy.known is not None:
            copy.file, copy.known, copy.is_deleted = copy.known, None, False

    def may_depart(self) -> bool:
        """Tell whether no device asks for a flag that is stronger than a deletion, as a round of the server does."""
        wanted = (effect for number in range(len(self.copies)) for effect in self.plan(number))
        return not any(is_personal(effect.add | effect.remove) for effect in wanted if isinstance(effect, Store))

    def is_wanted(self, number: int) -> bool:
        """Tell whether a device changed its file in a way that is stronger than a deletion."""
        copy = self.copies[number]
        if copy.file is None or copy.base is None:
            return False
        merged = merge(*(self.holdable.part_of(one) for one in (self.server, copy.base, copy.file)))
        return is_personal(merged.server_add | merged.server_remove)

    def perform(self, number: int, effect: Effect) -> None:
        """Do an effect to its side, whatever happened since it was planned."""
        copy = self.copies[number]
        match effect:
            case Deliver(flags=flags):
                if copy.file is None:  # else an earlier attempt got through, and the device may have renamed the file
                    copy.file = flags
            case Rename(add=add, remove=remove):
                if copy.file is not None:
                    copy.file = with_delta(copy.file, add=add, remove=remove)
            case Remove():
                copy.file = None
            case Store(add=add, remove=remove):
                if not self.is_gone:
                    self.server = with_delta(self.server, add=add, remove=remove)
            case Move() | Expunge():
                if not self.is_gone:
                    self.is_gone, self.trash = True, self.trash + isinstance(effect, Move)
            case Restore():
                self.put_back_by_server()
            case Agree() | Forget():
                pass
            case _:
                assert_never(effect)

    def put_back_by_server(self) -> None:
        """Let the message be there again, as it was; devices without a file of it get it anew."""
        if self.is_gone:
            self.is_gone, self.trash = False, 0
            for each in self.copies:
                if each.file is None:
                    each.base = each.announced = each.known = None
                    each.is_deleted = False

    def settle(self, number: int, effect: Effect) -> None:
        """Move the base as the store does after an effect was performed."""
        copy = self.copies[number]
        match effect:
            case Deliver(flags=flags):
                copy.base, copy.announced = flags, None
            case Remove() | Forget():
                copy.base = copy.announced = copy.known = None
                copy.is_deleted = False
            case Move() | Expunge():
                for each in self.copies:
                    if each.known is not None:
                        each.base, each.known, each.is_deleted = None, None, False
            case Restore():
                pass
            case Rename(add=add, remove=remove) | Store(add=add, remove=remove) | Agree(add=add, remove=remove):
                if copy.base is not None:
                    copy.base = with_delta(copy.base, add=add, remove=remove)
            case _:
                assert_never(effect)

    def is_at_rest(self) -> bool:
        return not any(self.plan(number) for number in range(len(self.copies)))
