"""Whatever a server says once that is extraordinary and untrue, nothing that it has is recorded as gone."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from syncd.mail.uidset import EMPTY, UidSet
from syncd.reconcile.guard import DEFAULT, Rule, is_extraordinary
from syncd.sync.imap.suspicions import Suspicions, Verdict

SECOND_LOOK_S = 5.0
RULES = (DEFAULT, Rule(count=1, share=0.1), Rule(count=0, share=0.0))


@dataclass(slots=True)
class Mailbox:
    """What a server has of one mailbox, and what is recorded of it."""

    there: UidSet
    recorded: UidSet = EMPTY
    wrongly_gone: UidSet = EMPTY
    uidnext: int = 1


@dataclass(slots=True)
class World:
    """Mailboxes of an account that somebody looks at."""

    rule: Rule
    boxes: list[Mailbox]
    now: float = 0.0
    suspicions: Suspicions = field(init=False)

    def __post_init__(self) -> None:
        self.suspicions = Suspicions("work", rule=self.rule, second_look_s=SECOND_LOOK_S)

    def arrive(self, number: int, count: int) -> None:
        box = self.boxes[number]
        box.there |= UidSet.span(box.uidnext, box.uidnext + count - 1)
        box.uidnext += count

    def expunge(self, number: int, every: int) -> None:
        box = self.boxes[number]
        box.there -= UidSet.of(uid for uid in box.there if uid % every == 0)

    def look(self, number: int, *, hides: UidSet = EMPTY) -> None:
        """Observe a mailbox whose server leaves something out, and record what is believed."""
        box = self.boxes[number]
        seen = box.there - hides
        vanished = box.recorded - seen
        known = len(box.recorded)
        box.recorded |= seen
        if self.suspicions.judge(number, vanished, known=known, now=self.now) is not Verdict.DOUBTED:
            box.recorded -= vanished
            box.wrongly_gone |= vanished & box.there

    def restart(self) -> None:
        self.__post_init__()


@st.composite
def steps(draw: st.DrawFn, boxes: int) -> list[tuple[str, int, int, float]]:
    step = st.tuples(
        st.sampled_from(("arrive", "expunge", "look", "look", "restart")),
        st.integers(0, boxes - 1),
        st.integers(1, 40),
        st.sampled_from((0.0, 1.0, SECOND_LOOK_S, 60.0)),
    )
    return draw(st.lists(step, max_size=20))


@given(st.data())
def test_one_lie_about_an_extraordinary_absence_removes_nothing(data: st.DataObject) -> None:
    """Mail comes and goes, looks come at any time, restarts forget: one look that lies costs another look, no message.

    In the end a few true looks record exactly what is there.
    """
    sizes = data.draw(st.lists(st.integers(0, 120), min_size=1, max_size=3))
    world = World(data.draw(st.sampled_from(RULES)), [Mailbox(EMPTY) for _ in sizes])
    for number, size in enumerate(sizes):
        if size:
            world.arrive(number, size)
        world.look(number)
    before, after = data.draw(steps(len(sizes))), data.draw(steps(len(sizes)))

    play(world, before)
    liar = data.draw(st.integers(0, len(sizes) - 1))
    box = world.boxes[liar]
    here = sorted(box.there)
    hides = UidSet.of(data.draw(st.sets(st.sampled_from(here)))) if here and data.draw(st.booleans()) else box.there
    if is_extraordinary(len((box.recorded - (box.there - hides)) & box.there), len(box.recorded), world.rule):
        world.look(liar, hides=hides)
    play(world, after)
    for _ in range(4):
        for number in range(len(sizes)):
            world.look(number)
        world.now += SECOND_LOOK_S

    assert [box.wrongly_gone for box in world.boxes] == [EMPTY] * len(sizes)
    assert [box.recorded for box in world.boxes] == [box.there for box in world.boxes]


def play(world: World, happens: list[tuple[str, int, int, float]]) -> None:
    """Let things happen one after the other."""
    for what, number, amount, passes_s in happens:
        world.now += passes_s
        match what:
            case "arrive":
                world.arrive(number, amount)
            case "expunge":
                world.expunge(number, amount)
            case "look":
                world.look(number)
            case _:
                world.restart()
