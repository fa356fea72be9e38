"""What is asked of the next mailbox while one is read costs nobody a connection twice."""

import re
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.errors import SyncdError
from syncd.imap.wire.limits import Limits
from syncd.store.tables import schema
from syncd.sync.imap import account as imap_account
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap

_BODIES_WITH_3 = re.compile(rb"UID FETCH (?:\d+:[34]|(?:\d+,)*3) \(UID BODY")
_NEW_ROWS = re.compile(rb"UID FETCH \d+:\d+ \(UID FLAGS [^)]*RFC822\.SIZE")
_ANSWER = re.compile(rb"[A-P]{4}\d+ (?:OK|NO|BAD)\b")


async def test_mailbox_that_ends_connections_is_not_asked_for_ahead(tmp_path: Path, user: Provider) -> None:
    """Its loss would count for the mailbox before it, and it would be tried again and again."""
    user.receive("z", mailbox="Zlast")
    async with Tap(user.server.imap_port) as tap:
        account = imap(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"work": account}) as house:
            tap.drops = lambda line: b'SELECT "Zlast"' in line
            await house.until(lambda: _selected(tap, b"Zlast") >= 4)
            await _ask(house)

            for name in ("M1", "M2", "M3"):
                user.receive(f"in {name}", mailbox=name)
                before = _selected(tap, b"Zlast")
                await _ask(house)
                await house.until(partial(_has, house, name))
                await _ask(house)
                assert _selected(tap, b"Zlast") - before <= 2  # once for each who asked


async def test_server_that_answers_out_of_order_costs_one_connection(tmp_path: Path, user: Provider) -> None:
    """From then on nothing is asked ahead."""
    names = ("INBOX", "M1", "M2", "M3", "M4")
    for name in names:
        user.receive(f"in {name}", mailbox=name)
    async with Tap(user.server.imap_port) as tap:
        is_answered, early = True, 0

        def says(line: bytes) -> bytes:
            nonlocal is_answered
            is_answered = is_answered or _ANSWER.match(line) is not None
            return line

        def precedes(line: bytes) -> bytes:
            nonlocal is_answered, early
            is_ahead = not is_answered and b" SELECT " in line
            is_answered = is_answered and b"BODY.PEEK[]" not in line
            early += is_ahead
            return b"* 1 EXISTS\r\n" + line.split()[0] + b" OK [READ-WRITE] at once\r\n" if is_ahead else b""

        tap.says, tap.precedes = says, precedes
        account = imap(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"work": account}) as house:
            await house.until(lambda: all(_has(house, name) for name in names))

            assert early == 1
            assert house.activities["work"].logins == 2


async def test_rows_that_come_before_their_mailbox_is_selected_cost_one_connection(
    tmp_path: Path, user: Provider
) -> None:
    """From then on SELECT is waited for, and new mail comes all the same."""
    user.receive("first")
    async with Tap(user.server.imap_port) as tap:
        is_selecting, early, asked = False, 0, 0

        def says(line: bytes) -> bytes:
            nonlocal is_selecting
            is_selecting = is_selecting and _ANSWER.match(line) is None
            return line

        def precedes(line: bytes) -> bytes:
            nonlocal is_selecting, early, asked
            is_ahead = is_selecting and _NEW_ROWS.search(line) is not None
            is_selecting = b"(QRESYNC" in line
            asked += is_ahead
            early += is_ahead
            return line.split()[0] + b" OK at once\r\n" if is_ahead else b""

        account = imap(user.server, user.user, port=tap.port, mailboxes=["INBOX"])
        async with House(tmp_path, accounts={"work": account}) as house:
            await house.settle()
            tap.says, tap.precedes = says, precedes
            keys = ["first"]
            while not early:
                keys.append(f"m{len(keys):02}")
                user.receive(keys[-1])
                await house.until(lambda: house.replica("laptop").keys() == keys)
            await house.until(lambda: house.activities["work"].logins == 2)

            asked = 0
            for number in range(3):
                keys.append(f"n{number}")
                user.receive(keys[-1])
                await house.until(lambda: house.replica("laptop").keys() == keys)
            await house.settle()
            assert (asked, early, house.activities["work"].logins) == (0, 1, 2)


async def test_server_that_drops_what_comes_with_the_end_of_idle_costs_one_connection(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on the end of IDLE is waited for, and new mail comes all the same."""
    monkeypatch.setattr(imap_account, "Limits", partial(Limits, command_s=3.0))
    async with Tap(user.server.imap_port) as tap:
        idle, is_ending, dropped, is_odd = b"", False, 0, False

        def alters(line: bytes) -> bytes:
            nonlocal idle, is_ending, dropped
            if line == b"DONE\r\n":
                is_ending = is_odd
            elif is_ending:
                dropped += 1
                return b""
            elif line.endswith(b" IDLE\r\n"):
                idle = line.split()[0]
            return line

        def says(line: bytes) -> bytes:
            nonlocal is_ending
            is_ending = is_ending and not line.startswith(idle + b" ")
            return line

        tap.alters, tap.says = alters, says
        account = imap(user.server, user.user, port=tap.port, mailboxes=["INBOX"])
        async with House(tmp_path, accounts={"work": account}) as house:
            await house.settle()
            is_odd = True
            keys = list[str]()
            while not dropped:
                keys.append(f"m{len(keys):02}")
                user.receive(keys[-1])
                await house.until(lambda: house.replica("laptop").keys() == keys)
            before, logins = dropped, house.activities["work"].logins

            for number in range(3):
                keys.append(f"n{number}")
                user.receive(keys[-1])
                await house.until(lambda: house.replica("laptop").keys() == keys)
            await house.settle()
            assert (dropped, house.activities["work"].logins, logins) == (before, 2, 2)


async def test_message_at_which_a_server_dies_in_the_middle_of_all_is_found(tmp_path: Path, user: Provider) -> None:
    """Also where the answer to SELECT is lost with it: the others of its mailbox come, and it is set aside."""
    user.receive("first", mailbox="A")
    user.receive("first", mailbox="B")
    async with Tap(user.server.imap_port) as tap:
        account = imap(user.server, user.user, port=tap.port)
        async with House(tmp_path, accounts={"work": account}) as house:
            await house.settle()
            tap.drops = lambda line: _BODIES_WITH_3.search(line) is not None
            user.receive("x", "bad", "y", mailbox="A")
            user.receive("z", mailbox="B")
            await _ask(house)

            await house.until(lambda: house.replica("laptop", "A").keys() == ["first", "x", "y"])
            (trouble,) = await house.rows(select(schema.trouble))
            assert "the connection ended in the middle of the message" in trouble.error


def _has(house: House, name: str) -> bool:
    return house.replica("laptop", name).keys() == [f"in {name}"]


def _selected(tap: Tap, name: bytes) -> int:
    return sum(b'SELECT "' + name + b'"' in line for line in tap.lines)


async def _ask(house: House) -> None:
    try:
        await house.ask("work")
    except SyncdError:
        pass
