"""What happens in INBOX while another mailbox is selected is seen before the account rests: nobody hears of it.

Nobody asks for a pass in these tests, and the next poll is minutes away.
"""

import asyncio
from functools import partial
from pathlib import Path

from sqlalchemy import select

from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap

FLAGGED = "\\Flagged"


async def test_mail_that_comes_between_two_pushes(tmp_path: Path, user: Provider) -> None:
    """The second of two mailboxes that a device changed is INBOX, which is selected anew to be changed only."""
    user.receive("a")
    user.receive("b", mailbox="Archive")
    async with Tap(user.server.imap_port) as tap:
        account = imap(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"work": account}) as house:
            await house.settle()
            inbox, flags = house.replica("laptop"), select(schema.replica_message.c.flags)

            async def meddle(line: bytes) -> None:
                if b" STORE " in line and not inbox.flags()["a"]:
                    inbox.mark("a", add="F")
                    await house.until_read(lambda found: found.count(FLAGGED) == 2, flags)
                elif b" SELECT " in line and b"INBOX" in line and inbox.flags()["a"]:
                    tap.before_line = None
                    await asyncio.to_thread(user.receive, "new")

            tap.before_line = meddle
            house.replica("laptop", "Archive").mark("b", add="F")

            await house.until(lambda: "new" in inbox.flags())
            await house.until(lambda: FLAGGED in user.flags()["a"])


async def test_flag_that_changes_during_a_first_sync(tmp_path: Path, user: Provider) -> None:
    """A mailbox that is listed for the first time is selected twice: for its newest messages, and for all of them."""
    user.receive("a", "b")
    async with Tap(user.server.imap_port) as tap:
        account, selected = imap(user.server, user.user, port=tap.port), []

        async def meddle(line: bytes) -> None:
            selected.extend([line] if b" SELECT " in line and b"INBOX" in line else ())
            if len(selected) == 2:
                tap.before_line = None
                await asyncio.to_thread(partial(user.store, "a", f"+FLAGS ({FLAGGED})"))

        tap.before_line = meddle
        async with House(tmp_path, accounts={"work": account}) as house:
            await house.until(
                lambda: tap.before_line is None and FLAGGED in house.replica("laptop").flags().get("a", ())
            )
