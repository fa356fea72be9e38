"""Those who ask for one adoption at the same time hear of it each for itself."""

import asyncio

import pytest

from syncd.errors import DeviceAwayError
from syncd.sync.device.attachment import Adopted, Adoptions


class Root:
    """A device's root that has files in no mailbox, or has not."""

    def __init__(self, *, has_strays: bool) -> None:
        self._has_strays = has_strays
        self.adopted: list[bool] = []

    async def adopt(self, *, leaves_others: bool) -> Adopted:
        if self._has_strays and not leaves_others:
            raise DeviceAwayError("files in no mailbox")
        self.adopted.append(leaves_others)
        return Adopted("files and no marker", is_empty=False)


async def test_nobody_leaves_files_alone_because_another_one_would() -> None:
    """Where there are some, who did not say so is refused, and who did is served."""
    adoptions, root = Adoptions(), Root(has_strays=True)
    careful, bold = adoptions.ask(), adoptions.ask(leaves_others=True)

    assert await adoptions.answer(root.adopt)

    with pytest.raises(DeviceAwayError, match="in no mailbox"):
        await careful
    assert (await bold).found == "files and no marker"
    assert root.adopted == [True]


async def test_one_adoption_is_enough_for_all() -> None:
    """Where no file is in no mailbox, both asked for the same."""
    adoptions, root = Adoptions(), Root(has_strays=False)
    asked = adoptions.ask(leaves_others=True), adoptions.ask()

    assert await adoptions.answer(root.adopt)

    assert await asyncio.gather(*asked) == [Adopted("files and no marker", is_empty=False)] * 2
    assert root.adopted == [False]
    assert not await adoptions.answer(root.adopt)


async def test_task_that_ends_meanwhile_tells_everybody() -> None:
    """Also those whose turn had not come."""
    adoptions = Adoptions()
    asked = adoptions.ask(), adoptions.ask(leaves_others=True)

    async def adopt(*, leaves_others: bool) -> Adopted:
        raise asyncio.CancelledError(leaves_others)

    with pytest.raises(asyncio.CancelledError):
        await adoptions.answer(adopt)

    for one in asked:
        with pytest.raises(Exception, match="ended before that"):
            await one
