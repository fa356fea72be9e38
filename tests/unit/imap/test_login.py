"""Logging in by conversations: each challenge is answered as its mechanism demands, so that the server is heard."""

import base64
import json

import pytest

from syncd.errors import ConnectionLostError, LoginRefusedError, ProtocolError, RefusedError, Temper, TrustError
from syncd.imap.connection import ImapConnection
from syncd.sasl.mechanisms import Secret
from syncd.sasl.tokens import Token
from tests.unit.imap.scripted import Peer, Script, serve

TOKEN = "ya29.a0Af_B-x/y+z~9Q=="
REFUSAL = base64.b64encode(json.dumps({"status": "401", "schemes": "bearer", "scope": f"x {TOKEN}"}).encode())


async def log_in(capabilities: bytes, script: Script, secret: Secret) -> ImapConnection:
    """Log in to a server with these capabilities, and return the closed connection."""

    async def whole(peer: Peer) -> None:
        await peer.send(b"* OK [CAPABILITY IMAP4rev1 " + capabilities + b"] ready\r\n")
        await script(peer)

    async with serve(whole) as served:
        connection = await ImapConnection.open(served.endpoint)
        try:
            await connection.login("ana", secret)
        finally:
            await connection.aclose()
            await served.finish()
        return connection


async def refused(capabilities: bytes, script: Script, secret: Secret) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await log_in(capabilities, script, secret)
    assert TOKEN not in repr(caught.value)
    return caught.value


async def test_token_is_sent_with_the_command_or_when_asked_for() -> None:
    """SASL-IR saves a round trip; without it the server asks first."""

    async def at_once(peer: Peer) -> None:
        command = await peer.expect(b"AUTHENTICATE XOAUTH2 ")
        assert base64.b64decode(command.split()[2]) == f"user=ana\1auth=Bearer {TOKEN}\1\1".encode()
        await peer.ok()
        await peer.answer(b"CAPABILITY", b"* CAPABILITY IMAP4rev1\r\n")

    async def when_asked(peer: Peer) -> None:
        assert await peer.command() == b"AUTHENTICATE OAUTHBEARER"
        await peer.send(b"+\r\n")
        assert base64.b64decode(await peer.line()).endswith(f"\1auth=Bearer {TOKEN}\1\1".encode())
        await peer.ok()
        await peer.answer(b"CAPABILITY", b"* CAPABILITY IMAP4rev1\r\n")

    await log_in(b"SASL-IR AUTH=PLAIN AUTH=XOAUTH2", at_once, Token(TOKEN))
    await log_in(b"AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER", when_asked, Token(TOKEN))


@pytest.mark.parametrize(("mechanism", "heard"), [(b"OAUTHBEARER", b"AQ=="), (b"XOAUTH2", b"")])
async def test_refused_token_is_heard_out(mechanism: bytes, heard: bytes) -> None:
    """What the server says of it is answered, else its NO never comes; the error has its known words, and no others."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"AUTHENTICATE " + mechanism)
        tag = peer.tag
        await peer.send(b"+ " + REFUSAL + b"\r\n")
        assert await peer.line() == heard
        await peer.send(tag + b" NO [AUTHENTICATIONFAILED] ana@example.org no\r\n")

    for follows_refused, temper in ((False, Temper.WAIT), (True, Temper.GIVE_UP)):
        error = await refused(b"SASL-IR AUTH=" + mechanism, script, Token(TOKEN, follows_refused))

        assert type(error) is LoginRefusedError
        assert str(error) == 'login refused by the server: "<address> no" (status 401)'
        assert error.temper is temper


async def test_refusal_that_has_no_end_is_broken_off() -> None:
    """A server that challenges on and on is not answered for ever."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"AUTHENTICATE XOAUTH2")
        tag = peer.tag
        await peer.send(b"+ " + REFUSAL + b"\r\n")
        await peer.line()
        await peer.send(b"+ " + REFUSAL + b"\r\n")
        assert await peer.line() == b"*"
        await peer.send(tag + b" BAD cancelled\r\n")

    await refused(b"SASL-IR AUTH=XOAUTH2", script, Token(TOKEN))


async def test_token_is_kept_from_a_server_that_takes_none() -> None:
    """Neither LOGIN nor PLAIN gets it."""

    async def script(peer: Peer) -> None:
        assert await peer.reader.read() == b""

    error = await refused(b"SASL-IR AUTH=PLAIN AUTH=LOGIN", script, Token(TOKEN))

    assert "takes no tokens" in str(error)


async def test_server_that_says_ok_without_a_proof_is_not_trusted() -> None:
    """With SCRAM the server has to know the password as well; one that does not is left."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"AUTHENTICATE SCRAM-SHA-256 ")
        await peer.ok()
        await peer.gone()

    with pytest.raises(TrustError, match="did not prove itself"):
        await log_in(b"SASL-IR AUTH=SCRAM-SHA-256", script, "secret")


async def test_server_that_asks_for_too_much_work_is_left() -> None:
    """The connection ends there and then, and nothing that was derived from the password is sent."""

    async def script(peer: Peer) -> None:
        command = await peer.expect(b"AUTHENTICATE SCRAM-SHA-1 ")
        nonce = base64.b64decode(command.split()[2]).rpartition(b"r=")[2]
        challenge = base64.b64encode(b"r=" + nonce + b"more,s=QSXCR+Q6sek8bf92,i=2000000000")
        await peer.send(b"+ " + challenge + b"\r\n")
        assert await peer.reader.read() == b""

    with pytest.raises(ProtocolError, match="iterations"):
        await log_in(b"SASL-IR AUTH=SCRAM-SHA-1", script, "secret")


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (Token(TOKEN), TOKEN),
        (Token(TOKEN), base64.b64encode(f"user=ana\1auth=Bearer {TOKEN}\1\1".encode()).decode()),
        (Token(TOKEN), TOKEN[:17]),
        ("secret", "secret"),
        ("secret", base64.b64encode(b"\0ana\0secret").decode()),
        ("secret", base64.b64encode(b"\0an\0secret").decode().rstrip("=")),
    ],
)
@pytest.mark.parametrize("end", ["NO", "NO [UNAVAILABLE]", "BAD"])
async def test_what_a_server_repeats_of_a_login_is_in_no_error(secret: Secret, said: str, end: str) -> None:
    """Some show the command that they refuse; an error is logged, stored and shown, long after the login is over."""

    async def script(peer: Peer) -> None:
        await peer.command()
        await peer.send(peer.tag + f" {end} Sorry, not so: {said} is wrong\r\n".encode())

    error = await refused(b"SASL-IR AUTH=PLAIN AUTH=XOAUTH2", script, secret)

    assert said not in str(error)
    assert "Sorry, not so: ... is wrong" in str(error)


@pytest.mark.parametrize(("secret", "said"), [(Token(TOKEN), TOKEN), ("secret", "secret")])
async def test_what_a_server_repeats_when_it_hangs_up_is_in_no_error(secret: Secret, said: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.command()
        await peer.send(f"* BYE no, {said} is wrong\r\n".encode())

    with pytest.raises(ConnectionLostError) as caught:
        await log_in(b"SASL-IR AUTH=PLAIN AUTH=XOAUTH2", script, secret)

    assert said not in str(caught.value)
    assert "no, ... is wrong" in str(caught.value)


async def test_token_that_is_too_long_for_a_line_is_sent_when_it_is_asked_for() -> None:
    async def script(peer: Peer) -> None:
        assert await peer.command() == b"AUTHENTICATE XOAUTH2"
        await peer.send(b"+ \r\n")
        assert len(await peer.line()) > 8192
        await peer.ok()
        await peer.answer(b"CAPABILITY", b"* CAPABILITY IMAP4rev1\r\n")

    await log_in(b"SASL-IR AUTH=XOAUTH2", script, Token("x" * 8192))
