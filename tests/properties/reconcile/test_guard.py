"""Whatever is judged, the guard says the same when only so much was counted as makes a difference to it."""

from hypothesis import example, given
from hypothesis import strategies as st

from syncd.reconcile.guard import DEFAULT, MailboxLoss, Rule, judge_part, judge_planned
from syncd.values import replace

RULES = (
    DEFAULT,
    Rule(count=0, share=0.0),
    Rule(count=0, share=0.3),
    Rule(count=3, share=1.0),
    Rule(count=0, share=1e-300),
)


@st.composite
def losses(draw: st.DrawFn) -> tuple[MailboxLoss, int]:
    """Draw what a mailbox had, and lost within the window, and how many messages more are to go from it."""
    had = draw(st.one_of(st.integers(0, 15), st.integers(0, 500)))
    few = st.one_of(st.integers(0, min(had, 12)), st.integers(0, had))
    return MailboxLoss(0, draw(few), had, may_empty=draw(st.booleans())), draw(few)


@given(st.lists(losses(), max_size=4), st.sampled_from(RULES))
@example([(MailboxLoss(0, 0, 1000, may_empty=False), 26), (MailboxLoss(0, 0, 1, may_empty=False), 1)], DEFAULT)
def test_what_is_enough_to_tell_changes_no_verdict(drawn: list[tuple[MailboxLoss, int]], rule: Rule) -> None:
    """Of each mailbox by itself as well as of all of them together."""
    tallies = [replace(loss, mailbox_id=id_) for id_, (loss, _) in enumerate(drawn)]
    planned = {id_: count for id_, (_, count) in enumerate(drawn) if count}
    most = rule.telling(sum(planned.values()) + sum(one.removed for one in tallies))
    counted = [replace(one, had=min(one.had, most)) for one in tallies]

    assert judge_planned(counted, planned, rule) is judge_planned(tallies, planned, rule)
    for id_ in planned:
        assert judge_part(id_, counted, planned, rule) is judge_part(id_, tallies, planned, rule)
