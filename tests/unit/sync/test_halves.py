"""An account between two halves of what its server moved: who is put off, and until when."""

import asyncio

import pytest

from syncd.sync import halves
from syncd.sync.halves import Halves
from syncd.sync.wakes import Wake

DEADLINE_S = 5.0


async def test_only_the_account_between_halves_is_put_off() -> None:
    """Others are planned as ever, and whoever was put off is woken at the end."""
    both, wake, other = Halves(), Wake(), Wake()

    with both.unseen("work"):
        during = [both.are_seen(account, wake=wake) for account in ("work", "home")]
        woken = wake.is_set()

    assert (during, woken) == ([False, True], False)
    assert both.are_seen("work", wake=other)
    assert (wake.is_set(), other.is_set()) == (True, False)


async def test_what_was_begun_before_is_not_ended_within() -> None:
    """A look within a longer one leaves the end to that."""
    both, wake = Halves(), Wake()
    both.begin("work")

    with both.unseen("work"):
        pass
    before = both.are_seen("work", wake=wake)
    both.end("work")
    both.end("work")

    assert not before
    assert both.are_seen("work", wake=wake)
    assert wake.is_set()


async def test_end_comes_also_with_an_error() -> None:
    """A look that fails puts nobody off for longer."""
    both, wake = Halves(), Wake()

    def look() -> None:
        with both.unseen("work"):
            both.are_seen("work", wake=wake)
            raise OSError("cut")

    with pytest.raises(OSError, match="cut"):
        look()
    assert wake.is_set()
    assert both.are_seen("work", wake=wake)


async def test_nobody_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that hangs is not waited for: who was put off is woken, and may plan."""
    monkeypatch.setattr(halves, "_PATIENCE_S", 0.01)
    both, wake = Halves(), Wake()

    with both.unseen("work"):
        assert not both.are_seen("work", wake=wake)
        async with asyncio.timeout(DEADLINE_S):
            await wake.wait()
        assert both.are_seen("work", wake=wake)
