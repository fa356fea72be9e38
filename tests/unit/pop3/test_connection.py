"""One session against a scripted server: what is sent, what is refused, and what ends it."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from syncd.errors import (
    ConnectionLostError,
    LoginRefusedError,
    ProtocolError,
    RefusedError,
    SyncdError,
    Temper,
    TooSlowError,
    UnreachableError,
)
from syncd.pop3.connection import Connection, Failed, Fetched
from syncd.pop3.endpoint import Endpoint, Security
from syncd.pop3.listing import Listed
from syncd.values import replace
from tests.unit.pop3.scripted import CUT, HOST, QUICK, Hook, Mail, Reply, ScriptedServer, Session, Then

MAILS = [Mail(f"u{n}", b"Subject: %d\r\n\r\nbody\r\n" % n) for n in range(1, 8)]


def answering(verb: str, octets: bytes, then: Then = Then.GO_ON) -> Hook:
    """Return a hook that answers one command in its own way."""
    return lambda session, line: Reply(octets, then) if line.split(" ")[0] == verb else None


async def fetch_all(
    connection: Connection, spool: Path, listing: tuple[Listed, ...] | None = None
) -> list[Fetched | Failed | SyncdError]:
    """Retrieve everything; an error that ends it is the last item."""
    items: list[Fetched | Failed | SyncdError] = []
    wanted = await connection.listing() if listing is None else listing
    async with contextlib.aclosing(connection.retrieve(wanted, spool=spool)) as arrivals:
        try:
            async for arrival in arrivals:
                items.append(arrival)  # noqa: PERF401  # what came before an error is kept
        except SyncdError as error:
            items.append(error)
    return items


def has_files(directory: Path) -> bool:
    """Tell whether a spooled body was left behind."""
    return any(directory.iterdir())


@pytest.mark.parametrize("capabilities", ["PIPELINING UIDL", "UIDL"])
async def test_session_lists_retrieves_and_deletes(capabilities: str, tmp_path: Path) -> None:
    """With and without pipelining the same verbs do the same."""
    async with ScriptedServer(MAILS, capabilities=capabilities) as server:
        async with await Connection.open(server.endpoint(), QUICK) as connection:
            await connection.login("someone", "pass word")
            listing = await connection.listing()
            items = await fetch_all(connection, tmp_path, listing)
            marked = await connection.delete(listing[:3])
            await connection.quit()

        assert listing == tuple(Listed(n, f"u{n}", len(MAILS[n - 1].octets)) for n in range(1, 8))
        assert [item.body.octets for item in items if isinstance(item, Fetched)] == [mail.octets for mail in MAILS]
        assert marked == listing[:3]
        assert [mail.uidl for mail in server.mails] == ["u4", "u5", "u6", "u7"]
        assert "PASS pass word" in server.sessions[0].commands


@pytest.mark.parametrize(
    ("capabilities", "sent_ahead"),
    [("UIDL", b""), ("PIPELINING UIDL", b"".join(b"RETR %d\r\n" % n for n in range(2, 8)) + b"NOOP\r\n")],
)
async def test_commands_are_sent_ahead_only_where_pipelining_is_announced(
    capabilities: str, sent_ahead: bytes, tmp_path: Path
) -> None:
    """A server that did not announce PIPELINING has one command at a time to deal with."""
    stall = answering("RETR", b"", Then.STALL)
    async with ScriptedServer(MAILS, capabilities=capabilities, hook=stall) as server:
        async with await Connection.open(server.endpoint(), replace(QUICK, inactivity_s=0.3)) as connection:
            items = await fetch_all(connection, tmp_path)
        await server.idle()

        assert [type(item) for item in items] == [Failed, TooSlowError]
        assert server.sessions[0].unanswered == sent_ahead


async def test_empty_maildrop_costs_one_command_without_pipelining() -> None:
    """A poll that finds nothing asks for nothing more."""
    async with (
        ScriptedServer(capabilities="UIDL") as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        assert await connection.listing() == ()
        await connection.quit()

        assert server.commands == ["CAPA", "STAT", "QUIT"]


async def test_refused_count_leaves_the_session_in_step() -> None:
    """What was asked for together with it is answered, too, and is no answer to what comes next."""
    async with (
        ScriptedServer(MAILS, capabilities="PIPELINING", hook=answering("STAT", b"-ERR later\r\n")) as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        for _ in range(2):
            with pytest.raises(RefusedError, match="STAT"):
                await connection.listing()


@pytest.mark.parametrize("capabilities", ["PIPELINING", "UIDL"])
async def test_messages_that_are_counted_and_not_listed_are_told(capabilities: str) -> None:
    """A server that refuses every listing has not shown that there is nothing."""

    def hook(session: Session, line: str) -> Reply | None:
        return Reply(b"-ERR later\r\n") if line in {"LIST", "UIDL"} else None

    async with (
        ScriptedServer(MAILS, capabilities=capabilities, hook=hook) as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        with pytest.raises(ProtocolError, match="lists none of the 7 messages"):
            await connection.listing()


async def test_server_without_capa_is_used_as_it_is(tmp_path: Path) -> None:
    """CAPA is an extension."""
    async with (
        ScriptedServer(MAILS, hook=answering("CAPA", b"-ERR what?\r\n")) as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        await connection.login("someone", "secret")

        assert connection.capabilities == frozenset()
        assert len(await fetch_all(connection, tmp_path)) == 7


async def test_bare_lf_server_is_drained(tmp_path: Path) -> None:
    """Line ends of one octet are no reason to lose the session."""
    mails = [Mail("a", b"Subject: a\n\n.\n..\nend\n"), Mail("b", b"\n")]
    async with (
        ScriptedServer(mails, eol=b"\n") as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        items = await fetch_all(connection, tmp_path)

        assert [item.body.octets for item in items if isinstance(item, Fetched)] == [mail.octets for mail in mails]


async def test_large_bodies_are_spooled_and_small_ones_are_not(tmp_path: Path) -> None:
    """Above the limit a body is a file, with the facts of its octets, and it is the caller's."""
    big = b"Message-ID: <big@example.org>\r\n\r\n" + b".line\r\n" * 300_000
    limits = replace(QUICK, spool_above_bytes=10_000)
    async with (
        ScriptedServer([Mail("big", big), MAILS[0]]) as server,
        await Connection.open(server.endpoint(), limits) as connection,
    ):
        first, second = await fetch_all(connection, tmp_path)

    assert isinstance(first, Fetched)
    assert isinstance(second, Fetched)
    assert first.body.octets is None
    assert first.body.path is not None
    assert first.body.path.parent == tmp_path
    assert b"".join(first.body.pieces()) == big
    assert first.body.facts is not None
    assert (first.body.size_bytes, first.body.facts.message_id) == (len(big), "<big@example.org>")
    assert first.body.path.stat().st_mode & 0o077 == 0
    assert second.body.path is None


async def test_body_cut_in_the_middle_leaves_no_spool_file(tmp_path: Path) -> None:
    """What did not come whole is not kept."""
    cut = answering("RETR", b"+OK\r\n" + b"x" * 100_000, Then.CUT)
    async with (
        ScriptedServer(MAILS, hook=cut) as server,
        await Connection.open(server.endpoint(), replace(QUICK, spool_above_bytes=1000)) as connection,
    ):
        items = await fetch_all(connection, tmp_path)

    assert isinstance(items[0], Failed)
    assert isinstance(items[1], ConnectionLostError)
    assert not has_files(tmp_path)


async def test_full_disk_is_an_error_of_the_store_not_of_the_message(tmp_path: Path) -> None:
    """A message is not blamed for a spool directory that cannot be written to."""
    async with (
        ScriptedServer(MAILS) as server,
        await Connection.open(server.endpoint(), replace(QUICK, spool_above_bytes=1)) as connection,
    ):
        items = await fetch_all(connection, tmp_path / "missing")

    assert [type(item).__name__ for item in items] == ["StoreError"]


@pytest.mark.parametrize("capabilities", ["PIPELINING", "UIDL"])
async def test_refused_message_does_not_stop_the_others(capabilities: str, tmp_path: Path) -> None:
    """-ERR to one RETR is that message's trouble, and the session goes on in step."""

    def hook(session: Session, line: str) -> Reply | None:
        return Reply(b"-ERR [SYS/PERM] broken mail of someone@example.org\r\n") if line == "RETR 3" else None

    async with (
        ScriptedServer(MAILS, capabilities=capabilities, hook=hook) as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        items = await fetch_all(connection, tmp_path)

    failed = items[2]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RefusedError)
    assert (failed.listed.number, failed.error.code, failed.error.temper) == (3, "SYS/PERM", Temper.GIVE_UP)
    assert "example.org" not in str(failed.error)
    rest = [item.body.octets for item in items if isinstance(item, Fetched)]
    assert rest == [mail.octets for mail in MAILS if mail.uidl != "u3"]


@pytest.mark.parametrize("capabilities", ["PIPELINING", "UIDL"])
async def test_message_that_ends_early_for_want_of_dot_stuffing_is_not_handed_on(
    capabilities: str, tmp_path: Path
) -> None:
    """A lone dot inside a message throws the session out of step: the message before is suspect, not the next."""
    mails = [MAILS[0], Mail("dotted", b"a\r\n.\r\nrest of it\r\n", size=3), MAILS[2]]
    async with (
        ScriptedServer(mails, capabilities=capabilities, is_stuffing=False) as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        items = await fetch_all(connection, tmp_path)

    assert isinstance(items[0], Fetched)
    assert isinstance(items[1], Failed)
    assert items[1].listed.uidl == "dotted"
    assert isinstance(items[2], ProtocolError)
    assert len(items) == 3


async def test_last_message_is_checked_to_be_in_step_as_well(tmp_path: Path) -> None:
    """Also what follows the last body must be an answer."""
    mails = [MAILS[0], Mail("dotted", b"a\r\n.\r\nrest of it\r\n", size=3)]
    async with (
        ScriptedServer(mails, is_stuffing=False) as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        items = await fetch_all(connection, tmp_path)

    assert [type(item) for item in items] == [Fetched, Failed, ProtocolError]


async def test_whole_message_before_a_cut_is_handed_on(tmp_path: Path) -> None:
    """A connection lost between two messages costs only what had not come."""

    def hook(session: Session, line: str) -> Reply | None:
        return CUT if line == "RETR 3" else None

    async with (
        ScriptedServer(MAILS, hook=hook) as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        items = await fetch_all(connection, tmp_path)

    assert [type(item) for item in items] == [Fetched, Fetched, Failed, ConnectionLostError]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"garbage\r\n", ProtocolError),
        (b"+OK" + b"x" * 10_000, ProtocolError),
        (b"+OK\r\n" + b"y" * 100_000, ProtocolError),
        (b"", TooSlowError),
        (b"+OK\r\nhalf", TooSlowError),
    ],
)
async def test_failed_session_is_never_used_again_and_never_quits(
    answer: bytes, error: type[SyncdError], tmp_path: Path
) -> None:
    """After anything but -ERR the connection is dropped without QUIT, and further verbs fail."""
    stall = answering("RETR", answer, Then.STALL)
    limits = replace(QUICK, message_bytes=20_000)
    if error is TooSlowError:
        limits = replace(limits, inactivity_s=0.3)
    async with ScriptedServer(MAILS, hook=stall) as server:
        async with await Connection.open(server.endpoint(), limits) as connection:
            items = await fetch_all(connection, tmp_path)
            assert isinstance(items[-1], error)
            with pytest.raises(ConnectionLostError):
                await connection.quit()
        await server.idle()

        assert "QUIT" not in server.commands
        assert b"QUIT" not in server.sessions[0].unanswered


async def test_server_that_drips_is_too_slow_although_never_silent() -> None:
    """An answer has a deadline of its own, whatever trickles in."""

    is_done = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"+")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), 0.01)
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        is_done.set()

    server = await asyncio.start_server(drip, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    limits = replace(QUICK, command_s=0.2, inactivity_s=5, min_rate_bytes=10_000)
    async with server:
        with pytest.raises(TooSlowError):
            await Connection.open(Endpoint(HOST, port, Security.PLAIN), limits)
        async with asyncio.timeout(5):
            await is_done.wait()


async def test_cancelled_command_ends_the_session() -> None:
    """An abandoned answer would be the next command's."""
    async with (
        ScriptedServer(MAILS, hook=answering("STAT", b"", Then.STALL)) as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        task = asyncio.create_task(connection.listing())
        await server.seen("STAT")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        with pytest.raises(ConnectionLostError):
            await connection.listing()


# Logging in


@pytest.mark.parametrize(
    ("capabilities", "answer", "kind", "code", "temper"),
    [
        ("UIDL", b"-ERR no\r\n", LoginRefusedError, "", Temper.GIVE_UP),
        ("UIDL", b"-ERR [AUTH] no\r\n", LoginRefusedError, "AUTH", Temper.GIVE_UP),
        ("UIDL", b"-ERR [IN-USE] busy\r\n", RefusedError, "IN-USE", Temper.WAIT),
        ("UIDL", b"-ERR maildrop already locked\r\n", RefusedError, "IN-USE", Temper.WAIT),
        ("UIDL", b"-ERR [LOGIN-DELAY] later\r\n", RefusedError, "LOGIN-DELAY", Temper.WAIT),
        ("UIDL", b"-ERR [SYS/TEMP] disk\r\n", RefusedError, "SYS/TEMP", Temper.WAIT),
        ("UIDL", b"-ERR [SYS/PERM] ask\r\n", RefusedError, "SYS/PERM", Temper.GIVE_UP),
        ("UIDL AUTH-RESP-CODE", b"-ERR no\r\n", RefusedError, "", Temper.WAIT),
    ],
)
async def test_refused_login_says_whether_waiting_helps(
    capabilities: str, answer: bytes, kind: type[RefusedError], code: str, temper: Temper
) -> None:
    """Only what is about the credentials is a refused login (RFC 2449 §8, RFC 3206)."""
    async with (
        ScriptedServer(capabilities=capabilities, hook=answering("PASS", answer)) as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        with pytest.raises(RefusedError) as caught:
            await connection.login("someone", "secret")

    assert (type(caught.value), caught.value.code, caught.value.temper) == (kind, code, temper)
    assert "secret" not in str(caught.value)
    assert "someone" not in str(caught.value)


@pytest.mark.parametrize(("user", "password"), [("a\r\nDELE 1", "x"), ("a", "x\nQUIT"), ("a\0", "x"), ("a", "\x7f")])
async def test_control_characters_in_credentials_are_not_sent(user: str, password: str) -> None:
    """A password cannot become a command."""
    async with (
        ScriptedServer() as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        with pytest.raises(LoginRefusedError):
            await connection.login(user, password)

        assert server.commands == ["CAPA"]


async def test_refused_greeting_is_a_refusal_to_wait_for() -> None:
    """A server that is full or closing says so in its greeting."""
    async with ScriptedServer(greeting=b"-ERR [SYS/TEMP] too many") as server:
        with pytest.raises(RefusedError) as caught:
            await Connection.open(server.endpoint(), QUICK)

    assert caught.value.temper is Temper.WAIT


async def test_greeting_without_end_is_cut_off() -> None:
    """A line that never ends is not waited for."""
    async with ScriptedServer(greeting=b"+OK " + b"x" * 100_000) as server:
        with pytest.raises(ProtocolError):
            await Connection.open(server.endpoint(), QUICK)


async def test_nothing_listening_is_unreachable() -> None:
    """A refused connection is no crash."""
    async with ScriptedServer() as server:
        endpoint = server.endpoint()
    with pytest.raises(UnreachableError):
        await Connection.open(endpoint, QUICK)
