"""The chain of custody where UIDLs are missing, doubled, changed or used again: content decides."""

import random
from collections import Counter
from pathlib import Path

import pytest

from syncd.pop3.custody import CustodyState
from syncd.values import replace
from tests.unit.pop3.drains import CONTENTS, Watched, mails, session, sessions
from tests.unit.pop3.ledger import Ledger
from tests.unit.pop3.scripted import CUT, Mail, Reply, ScriptedServer, Session, Then


def bad_uidls(name: str, session: Session, mails: list[Mail]) -> Reply:
    """Return an answer to UIDL that gives no usable identity."""
    numbers = range(1, len(mails) + 1)
    match name:
        case "refused":
            return Reply(b"-ERR no\r\n")
        case "fresh":
            uidls = [f"{session.number}-{number}" for number in numbers]
        case "numbers":
            uidls = [str(number) for number in numbers]
        case "doubled":
            uidls = ["same" if len(mails) > 1 else mail.uidl for mail in mails]
        case "long":
            uidls = ["u" * 5000 + str(number) for number in numbers]
        case _:
            uidls = [mail.uidl if int(mail.uidl[-1]) % 2 else "" for mail in mails]
    lines = "".join(f"{number} {uidl}\r\n" for number, uidl in zip(numbers, uidls, strict=True))
    return Reply(f"+OK\r\n{lines}.\r\n".encode())


@pytest.mark.parametrize("name", ["refused", "fresh", "numbers", "doubled", "long", "partial"])
@pytest.mark.parametrize("lost", ["QUIT", "DELE", "RETR 5", None])
async def test_bad_uidls_fall_back_to_content_and_repeat_nothing(name: str, lost: str | None, tmp_path: Path) -> None:
    """No identity, but also no duplicate, after an interruption anywhere; equal messages stay two."""

    def hook(session: Session, line: str) -> Reply | None:
        if lost and line.startswith(lost) and session.number < 3:
            return CUT
        return bad_uidls(name, session, server.mails) if line == "UIDL" else None

    ledger = Ledger()
    async with ScriptedServer(mails(), hook=hook) as server:
        await sessions(server, ledger, tmp_path, count=4)

        assert server.mails == []
    assert ledger.contents == CONTENTS


async def test_uidl_that_is_reused_for_another_message_is_a_new_message(tmp_path: Path) -> None:
    """Same name, same size, other octets, after a confirmed deletion."""
    ledger = Ledger()
    async with ScriptedServer([Mail("u", b"first\r\n")]) as server:
        await session(server, ledger, tmp_path)
        server.mails = [Mail("u", b"other\r\n")]

        report = await session(server, ledger, tmp_path)

        assert (report.retrieved, report.duplicates, server.mails) == (1, 0, [])
    assert ledger.contents == Counter([b"first\r\n", b"other\r\n"])


async def test_uidl_that_is_reused_after_an_unanswered_quit_is_not_deleted_unread(tmp_path: Path) -> None:
    """The server deleted and never said so: what it now lists under that name was never retrieved."""
    ledger = Ledger()
    async with ScriptedServer(
        [Mail("u", b"first\r\n")],
        hook=lambda session, line: CUT if line == "QUIT" and session.number == 1 else None,
    ) as server:
        await sessions(server, ledger, tmp_path, count=1)
        server.mails = [Mail("u", b"other\r\n")]

        report = await session(server, ledger, tmp_path)

        assert (report.retrieved, report.duplicates, server.mails) == (1, 0, [])
    assert ledger.contents == Counter([b"first\r\n", b"other\r\n"])


async def test_message_not_listed_is_not_taken_for_deleted(tmp_path: Path) -> None:
    """A partial listing confirms nothing."""

    def partial(session: Session, line: str) -> Reply | None:
        match (session.number, line):
            case (1, "QUIT"):
                return CUT
            case (2, "STAT"):
                return Reply(b"+OK 0 0\r\n")
            case (2, "LIST" | "UIDL"):
                return Reply(b"+OK\r\n.\r\n")
        return None

    ledger = Ledger()
    async with ScriptedServer(mails(), hook=partial) as server:
        await sessions(server, ledger, tmp_path, count=2)
        assert {row.state for row in ledger.rows.values()} == {CustodyState.ASKED}

        third = await session(server, ledger, tmp_path)

    assert (third.retrieved, third.duplicates, third.deleted) == (6, 6, 6)
    assert ledger.contents == CONTENTS


SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
async def test_random_histories_of_faults_end_with_everything_once(seed: int, tmp_path: Path) -> None:
    """Cuts, refusals, short bodies and changing UIDLs in random sessions, mail arriving between; then honest ones:

    every content is in INBOX, and none more often than it was sent.
    """
    print(f"seed {seed}")
    chance = random.Random(seed)
    style = chance.choice(["good", "good", "refused", "fresh", "doubled", "partial", "long"])
    is_honest = False

    def hook(session: Session, line: str) -> Reply | None:
        verb = line.partition(" ")[0]
        if not is_honest and verb not in ("USER", "PASS", "UIDL") and chance.random() < 0.06:
            answer = server.answer(session, line)
            kinds = [CUT, Reply(answer, Then.CUT), Reply(answer[: chance.randrange(len(answer))], Then.CUT)]
            return chance.choice([*kinds, Reply(b"-ERR [SYS/TEMP] no\r\n"), Reply(b"nonsense\r\n")])
        if verb == "RETR" and not is_honest and style == "good" and chance.random() < 0.1:
            return Reply(b"+OK\r\n.\r\n")
        if verb == "UIDL" and style != "good":
            return bad_uidls(style, session, server.mails)
        return None

    sent: list[bytes] = []
    ledger = Ledger()
    watched = Watched(ledger, hook)
    async with ScriptedServer(hook=watched, capabilities=chance.choice(["PIPELINING UIDL", "UIDL"])) as server:
        watched.server = server
        for _ in range(8):
            arrived = [f"{chance.randrange(6)}\r\n.\r\n".encode() * 3 for _ in range(chance.randrange(4))]
            server.mails += [Mail(f"u{len(sent) + at}", octets) for at, octets in enumerate(arrived)]
            sent += arrived
            await sessions(server, ledger, tmp_path, count=1)
        is_honest = True
        ledger.rows = {key: replace(row, tries=0) for key, row in ledger.rows.items()}
        await sessions(server, ledger, tmp_path, count=4)

        assert server.mails == []
    assert watched.violations == []
    # NOTE: a copy that is equal to one whose deletion was never confirmed may count as that one: its content is there.
    assert ledger.contents.keys() == set(sent)
    assert ledger.contents <= Counter(sent)
