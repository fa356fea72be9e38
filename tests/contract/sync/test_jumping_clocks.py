"""Clocks that jump under a running daemon: what is synced does not depend on what time it is."""

from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.store.tables import schema
from syncd.store.trees.journal import UploadState
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import add, assert_everywhere, house_of, remove

SEEN, FLAGGED = "\\Seen", "\\Flagged"
_YEAR_S = 365 * 86400.0


@pytest.mark.parametrize("jump_s", [_YEAR_S, -_YEAR_S, -40 * _YEAR_S], ids=["ahead", "back", "to before any mail"])
async def test_clock_that_jumps_changes_nothing(tmp_path: Path, user: Provider, jump_s: float) -> None:
    """Deletions, moves, drafts and flags before and after a jump and back again are what they would have been."""
    user.receive("a", "b", "c", "d", "e")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        remove(house, "laptop", "a")
        house.replica("phone").mark("b", add="S")
        house.shift_s = jump_s
        add(house, "nas", "n", mailbox="Drafts", letters="D")
        await house.settle()
        assert_everywhere(house, user, "INBOX", "b", "c", "d", "e")
        assert_everywhere(house, user, "Drafts", "n")
        assert_everywhere(house, user, "Trash", "a")

        user.receive("later")
        remove(house, "phone", "c")
        await house.settle()
        user.store("d", "+FLAGS (\\Flagged)")
        house.shift_s = 0.0
        remove(house, "nas", "e")
        await house.settle()
        assert_everywhere(house, user, "INBOX", "b", "d", "later")
        assert_everywhere(house, user, "Trash", "a", "c", "e")
        for replica in house.replicas():
            assert replica.flags() == user.flags() == {"b": {SEEN}, "d": {FLAGGED}, "later": set()}


async def test_upload_that_was_cut_is_sent_once_the_clock_is_right(tmp_path: Path, user: Provider) -> None:
    """A clock that was ahead when the connection ended, and is set back, holds nothing up."""
    user.receive("a")
    async with (
        Tap(user.server.imap_port) as tap,
        House(tmp_path, accounts={"work": imap(user.server, user.user, port=tap.port)}) as house,
    ):
        await house.settle()
        house.shift_s = 10 * 3600.0
        tap.drops = lambda line: b" APPEND " in line
        add(house, "laptop", "n")
        await house.until_read(lambda kinds: kinds == [UploadState.BEGUN], select(schema.journal.c.kind))
        tap.drops = lambda line: False
        house.shift_s = 0.0

        await house.until(lambda: "n" in user.flags())

        await house.settle()
        assert sorted(user.flags()) == ["a", "n"]
