"""Whatever happens on any side and wherever rounds are interrupted, all sides come to the same flags, and rest."""

from dataclasses import dataclass
from random import Random

from hypothesis import given, note
from hypothesis import strategies as st

from syncd.mail.flags import ANSWERED, FLAGGED, NONE, SEEN, SYSTEM, Flags, with_delta
from syncd.mail.tree import Holdable
from syncd.reconcile.deletions import ForGood, ToTrash, is_personal
from syncd.reconcile.effects import Expunge, Move
from tests.properties.reconcile.world import Copy, World

NAMES = (SEEN, FLAGGED, ANSWERED, "a", "b")
ROUNDS_MAX = 6
flag_sets = st.frozensets(st.sampled_from(NAMES))
holdables = st.builds(
    lambda keywords, more: Holdable(SYSTEM | keywords, more), st.frozensets(st.sampled_from("ab")), st.booleans()
)


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of flags by somebody else: of the server (None) or of a replica's own program."""

    of: int | None
    add: Flags
    remove: Flags


@dataclass(frozen=True, slots=True)
class Round:
    """A round of one replica: its effects in some order, each performed and settled up to where it is interrupted.

    edits: happen between plan and perform.
    """

    of: int
    order: int
    performed: int
    settled: int
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Loss:
    """A device that removes its file, is looked at again, or puts it back."""

    of: int
    what: str


def edits(copies: int) -> st.SearchStrategy[Edit]:
    of = st.one_of(st.none(), st.integers(0, copies - 1))
    one, none = st.sampled_from(NAMES).map(lambda name: frozenset({name})), st.just(frozenset[str]())
    return st.one_of(
        st.builds(Edit, of, one, none), st.builds(Edit, of, none, one), st.builds(Edit, of, flag_sets, flag_sets)
    )


def rounds(copies: int) -> st.SearchStrategy[Round]:
    few = st.integers(0, 3)
    return st.builds(Round, st.integers(0, copies - 1), few, few, few, st.lists(edits(copies), max_size=2).map(tuple))


@st.composite
def histories(draw: st.DrawFn) -> tuple[World, list[Edit | Round]]:
    count = draw(st.integers(1, 3))
    copies = [Copy(draw(holdables)) for _ in range(count)]
    world = World(draw(holdables), copies, server=draw(flag_sets))
    return world, draw(st.lists(st.one_of(edits(count), rounds(count)), max_size=12))


def play(world: World, step: Edit | Round | Loss) -> None:
    """Let one thing happen."""
    if isinstance(step, Loss):
        getattr(world, step.what)(step.of)
        return
    if isinstance(step, Edit):
        edit(world, step)
        return
    planned = list(world.plan(step.of))
    planned = planned[step.order % max(len(planned), 1) :] + planned[: step.order % max(len(planned), 1)]
    for effect in planned:
        world.announce(step.of, effect)
    for one in step.edits:
        edit(world, one)
    for number, effect in enumerate(planned):
        if isinstance(effect, Move | Expunge) and not world.may_depart():
            continue
        if number < step.performed:
            world.perform(step.of, effect)
            if number < step.settled:
                world.settle(step.of, effect)


def edit(world: World, one: Edit) -> None:
    add = one.add - one.remove
    if one.of is None:
        world.server = with_delta(world.server, add=add, remove=one.remove)
        return
    copy = world.copies[one.of]
    if copy.file is not None:
        copy.file = with_delta(copy.file, add=copy.holdable.part_of(add), remove=one.remove)


def settle(world: World, *, without: int | None = None) -> int:
    """Run whole rounds until nothing is planned, of all replicas but one; return how many that took."""
    there = [number for number in range(len(world.copies)) if number != without]
    for count in range(ROUNDS_MAX):
        if not any(world.plan(number) for number in there):
            return count
        for number in there:
            for effect in world.plan(number):
                if isinstance(effect, Move | Expunge) and not world.may_depart():
                    continue
                world.announce(number, effect)
                world.perform(number, effect)
                world.settle(number, effect)
    raise AssertionError("does not come to rest")


@given(histories())
def test_any_history_comes_to_rest_with_equal_flags(history: tuple[World, list[Edit | Round]]) -> None:
    """After random changes of all sides and interrupted rounds, whole rounds end, and what both can hold is equal."""
    world, steps = history
    for step in steps:
        play(world, step)

    note(f"settled in {settle(world)} rounds")

    for copy in world.copies:
        assert copy.file is not None
        common = world.holdable.part_of(copy.holdable.part_of(world.server))
        assert world.holdable.part_of(copy.holdable.part_of(copy.file)) == common


@given(histories())
def test_no_flag_is_invented(history: tuple[World, list[Edit | Round]]) -> None:
    """A flag that nobody set is nowhere, one that nobody took back stays, and one taken back does not return."""
    world, steps = history
    ever, taken, taken_by_server, set_by_somebody = set(world.server), set[str](), set[str](), set[str]()
    before = world.server
    for step in steps:
        for one in (step,) if isinstance(step, Edit) else step.edits:
            set_by_somebody |= one.add
            taken |= one.remove
            taken_by_server |= one.remove if one.of is None else frozenset()
        play(world, step)
    settle(world)

    ever |= set_by_somebody
    assert world.server <= ever
    assert before - taken <= world.server
    assert not world.server & (taken_by_server - set_by_somebody)
    for copy in world.copies:
        assert copy.file is not None
        assert copy.file <= ever
        assert copy.holdable.part_of(before - taken) & SYSTEM <= copy.file


@given(st.integers(2, 4), st.data())
def test_each_side_changes_its_own_flag(count: int, data: st.DataObject) -> None:
    """Changes of different flags by the server and by every device all hold, whatever the order of rounds."""
    everything = Holdable(SYSTEM, any_keyword=True)
    world = World(everything, [Copy(everything) for _ in range(count)], server=data.draw(flag_sets))
    settle(world)
    at_rest = world.server
    owners = data.draw(st.permutations([None, *range(count)]))
    wanted = at_rest
    for name, owner in zip(NAMES, owners, strict=False):
        add, remove = (frozenset(), frozenset({name})) if name in at_rest else (frozenset({name}), frozenset())
        edit(world, Edit(owner, add, remove))
        wanted = with_delta(wanted, add=add, remove=remove)

    for one in data.draw(st.lists(rounds(count), max_size=6)):
        play(world, Round(one.of, one.order, one.performed, one.settled, ()))
    settle(world)

    assert world.server == wanted
    assert [copy.file for copy in world.copies] == [wanted] * count


@st.composite
def losses(draw: st.DrawFn) -> tuple[World, list[Edit | Round | Loss]]:
    count = draw(st.integers(1, 3))
    everything = Holdable(SYSTEM, any_keyword=True)
    world = World(everything, [Copy(everything) for _ in range(count)], draw(flag_sets))
    world.deletion = draw(st.sampled_from((ForGood(), ToTrash(2, "Trash"))))
    loss = st.builds(Loss, st.integers(0, count - 1), st.sampled_from(("lose", "look_again", "put_back")))
    return world, draw(st.lists(st.one_of(edits(count), rounds(count), loss, loss), max_size=16))


@given(losses())
def test_missing_files_are_nothing_to_the_server(history: tuple[World, list[Edit | Round | Loss]]) -> None:
    """However often files are away, without a second look no message goes, and each side rests."""
    world, steps = history
    for step in steps:
        if not (isinstance(step, Loss) and step.what == "look_again"):
            play(world, step)
    settle(world)

    assert not world.is_gone
    assert [copy.file is None for copy in world.copies] == [copy.known is not None for copy in world.copies]


@given(losses())
def test_deletions_converge(history: tuple[World, list[Edit | Round | Loss]]) -> None:
    """After the last second look all sides have the message with equal flags, or none has, and Trash has it once."""
    world, steps = history
    settle(world)
    for step in steps:
        play(world, step)
    for number in range(len(world.copies)):
        world.look_again(number)
    settle(world)

    assert world.trash == (world.is_gone and isinstance(world.deletion, ToTrash))
    if world.is_gone:
        assert [(copy.file, copy.base, copy.known) for copy in world.copies] == [(None, None, None)] * len(world.copies)
    else:
        assert [copy.file for copy in world.copies] == [world.server] * len(world.copies)


@given(st.sampled_from(NAMES), st.booleans(), st.booleans())
def test_deletion_yields_to_a_person_in_either_order(name: str, is_first: bool, by_server: bool) -> None:
    """A flag set elsewhere keeps the message unless it is Seen, whichever of the two rounds is first."""
    everything = Holdable(SYSTEM, any_keyword=True)
    world = World(everything, [Copy(everything), Copy(everything)])
    settle(world)
    world.lose(0)
    world.look_again(0)
    edit(world, Edit(None if by_server else 1, frozenset({name}), frozenset()))

    for number in (0, 1) if is_first else (1, 0):
        play(world, Round(number, 0, 9, 9, ()))
    settle(world)

    assert world.is_gone is (name == SEEN)


def test_device_that_was_away_among_fifty_is_merged_by_rule() -> None:
    """A thousand changes that it made meanwhile hold, and what the others did holds beside them."""
    everything, random = Holdable(SYSTEM, any_keyword=True), Random(43)
    away, changes = 49, 0
    while changes < 1000:
        copies = [Copy(everything, base=NONE, file=NONE) for _ in range(50)]
        world = World(everything, copies, deletion=ToTrash(2, "Trash"))
        elsewhere = random.choice((FLAGGED, "a", "deleted", "deleted"))
        if elsewhere == "deleted":
            world.lose(7)
            world.look_again(7)
        else:
            edit(world, Edit(random.choice((None, 7)), frozenset({elsewhere}), frozenset()))
        settle(world, without=away)
        kinds = random.choice(((SEEN, "\\Deleted", "$Junk", "NonJunk"), (SEEN, ANSWERED, "b", "c", "$Junk")))
        changed = frozenset(random.sample(kinds, 4))
        changes += len(changed)
        edit(world, Edit(away, changed, frozenset()))

        settle(world)

        assert world.is_gone is (elsewhere == "deleted" and not is_personal(changed))
        wanted = None if world.is_gone else changed | (frozenset({elsewhere}) - {"deleted"})
        assert [copy.file for copy in world.copies] == [wanted] * len(world.copies)


@given(histories(), st.data())
def test_expunge_takes_every_file_once(history: tuple[World, list[Edit | Round]], data: st.DataObject) -> None:
    """After an expunge every copy goes, also those on their way, but where a person changed one before or meanwhile."""
    world, steps = history
    for step in steps:
        play(world, step)
    world.is_gone = True
    is_wanted = any(world.is_wanted(number) for number in range(len(world.copies)))
    for one in data.draw(st.lists(rounds(len(world.copies)), max_size=4)):
        play(world, one)
        is_wanted |= any(is_personal(edit.add | edit.remove) for edit in one.edits)

    settle(world)

    assert is_wanted or world.is_gone
    for copy in world.copies:
        common = world.holdable.part_of(copy.holdable.part_of(world.server))
        there = copy.file is not None and world.holdable.part_of(copy.holdable.part_of(copy.file)) == common
        assert (copy.file, copy.base) == (None, None) if world.is_gone else there


@given(losses(), st.booleans())
def test_change_by_a_person_is_stronger_than_a_deletion_by_the_server(
    history: tuple[World, list[Edit | Round | Loss]], to_trash: bool
) -> None:
    """Whatever happened before, a file that its device then flags keeps its message, though the server deleted it."""
    world, steps = history
    for step in steps:
        play(world, step)
    settle(world)
    there = [number for number, copy in enumerate(world.copies) if copy.file is not None and not world.is_gone]
    if not there:
        return
    world.is_gone, world.trash = True, int(to_trash)
    edit(world, Edit(there[0], frozenset({FLAGGED}), frozenset({"\\Deleted"})))
    changed = world.copies[there[0]].file != world.copies[there[0]].base
    settle(world)

    assert world.is_gone is not changed
    assert not changed or FLAGGED in world.server
