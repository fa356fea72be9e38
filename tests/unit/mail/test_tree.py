"""The values of the three trees that decide something."""

import pytest

from syncd.mail.flags import FLAGGED, NONE, SEEN
from syncd.mail.tree import Holdable


@pytest.mark.parametrize(
    ("side", "flags", "held"),
    [
        (Holdable(), {SEEN, "$Junk"}, set()),
        (Holdable(frozenset({SEEN})), {SEEN, FLAGGED, "$Junk"}, {SEEN}),
        (Holdable(frozenset({SEEN, "$Junk"})), {SEEN, "$JUNK", "other"}, {SEEN, "$JUNK"}),
        (Holdable(frozenset({SEEN}), any_keyword=True), {SEEN, FLAGGED, "$Junk"}, {SEEN, "$Junk"}),
        (Holdable(any_keyword=True), {SEEN, "$Junk"}, {"$Junk"}),
    ],
)
def test_side_holds_what_it_can_represent(side: Holdable, flags: set[str], held: set[str]) -> None:
    """A flag that a side cannot hold is not missing there: it is not asked about."""
    assert side.part_of(frozenset(flags)) == held
    assert side.part_of(NONE) == NONE
