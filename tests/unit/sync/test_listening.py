"""What becomes of the second connection of an account when it cannot be had."""

import asyncio
from collections.abc import Iterator

import pytest

from syncd.errors import LoginRefusedError, RefusedError
from syncd.imap.answers.refusals import NotUnderstoodError
from syncd.imap.news.listener import Listener
from syncd.sync.accounts.served_account import ServedAccount
from syncd.sync.activity import Activity
from syncd.sync.imap.listening import Listening
from syncd.sync.imap.news_elsewhere import NewsElsewhere
from syncd.sync.wakes import Wakes

_DEADLINE_S = 30.0


class _Connects:
    """Fail to connect in the ways that are given, and then wait for ever."""

    def __init__(self, *ways: BaseException) -> None:
        self._ways: Iterator[BaseException] = iter(ways)
        self.waits = asyncio.Event()

    async def __call__(self) -> Listener:
        for way in self._ways:
            raise way
        self.waits.set()
        await asyncio.Event().wait()
        raise AssertionError


def _listening(connects: _Connects) -> Listening:
    account = ServedAccount("work", 1, db=None, takers=None, wakes=Wakes(), activity=Activity(), clock=lambda: 0.0)
    return Listening(account, NewsElsewhere(_nothing), connect=connects)


async def _nothing() -> list[object]:
    return []


@pytest.mark.parametrize("way", [ConnectionError("a bug"), ValueError("a bug"), asyncio.CancelledError()])
async def test_what_nobody_expected_is_tried_again(way: BaseException) -> None:
    """Also what a library cancels from within, which looks as if somebody had ended it."""
    connects = _Connects(way)
    listening = _listening(connects)

    async with asyncio.timeout(_DEADLINE_S):
        await connects.waits.wait()
        listening.cancel()
        await listening.ended()

    assert not listening.is_in_vain


@pytest.mark.parametrize(
    ("way", "is_in_vain"),
    [
        (LoginRefusedError("wrong password"), False),
        (NotUnderstoodError("what is NOTIFY?"), True),
        (RefusedError("no such events", code="BADEVENT"), True),
    ],
)
async def test_what_is_refused_for_good_is_not_asked_again(way: RefusedError, *, is_in_vain: bool) -> None:
    """The account finds out at its next login whether it is let in; a server that cannot tell is never asked again."""
    connects = _Connects(way)
    listening = _listening(connects)

    async with asyncio.timeout(_DEADLINE_S):
        await listening.ended()

    assert listening.is_in_vain is is_in_vain
    assert not connects.waits.is_set()
