"""Logging in by AUTH: in two steps always, and every challenge is answered as its mechanism demands."""

import base64
import json
import ssl

import pytest

from syncd.errors import LoginRefusedError, ProtocolError, RefusedError, Temper, TrustError
from syncd.pop3.connection import Connection
from syncd.pop3.endpoint import Security
from syncd.sasl.mechanisms import Secret
from syncd.sasl.tokens import Token
from syncd.values import replace
from tests.servers.ports import ANOTHER_MACHINE
from tests.unit.pop3.scripted import QUICK, Reply, ScriptedServer, Session

TOKEN = "ya29.a0Af_B-x/y+z~9Q==" * 100
REFUSAL = base64.b64encode(json.dumps({"status": "400", "schemes": "Bearer", "scope": TOKEN}).encode())


def server_with(mechanisms: str, *answers: bytes, capabilities: str = "UIDL USER") -> ScriptedServer:
    """Return a server with these mechanisms that says these lines once AUTH came, one for each line it hears."""
    left = list(answers)

    def hook(session: Session, line: str) -> Reply | None:
        if line == "CAPA":
            words = [*capabilities.split(), f"SASL {mechanisms}"] if mechanisms else capabilities.split()
            return Reply(b"".join(word.encode() + b"\r\n" for word in ("+OK", *words, ".")))
        if any(one.startswith("AUTH ") for one in session.commands) and left:
            return Reply(left.pop(0) + b"\r\n")
        return None

    return ScriptedServer(hook=hook)


async def said(server: ScriptedServer, secret: Secret) -> list[str]:
    """Log in, and return what was said for it."""
    async with server, await Connection.open(server.endpoint(), QUICK) as connection:
        await connection.login("ana", secret)
        await connection.listing()
    return server.sessions[0].commands[1:-1]


async def refusal(server: ScriptedServer, secret: Secret) -> RefusedError:
    async with server, await Connection.open(server.endpoint(), QUICK) as connection:
        with pytest.raises(RefusedError) as caught:
            await connection.login("ana", secret)
    assert TOKEN not in repr(caught.value)
    return caught.value


@pytest.mark.parametrize("asking", [b"+ ", b"+"])
async def test_token_is_sent_when_it_is_asked_for(asking: bytes) -> None:
    """Outlook takes it in no other way, and a command has room for 255 octets, which a token exceeds."""
    lines = await said(server_with("PLAIN XOAUTH2", asking, b"+OK"), Token(TOKEN))

    assert lines[:2] == ["AUTH XOAUTH2", base64.b64encode(f"user=ana\1auth=Bearer {TOKEN}\1\1".encode()).decode()]


@pytest.mark.parametrize(("mechanism", "heard"), [("OAUTHBEARER", "AQ=="), ("XOAUTH2", "")])
async def test_refused_token_is_heard_out(mechanism: str, heard: str) -> None:
    """What the server says of it is answered, else its -ERR never comes."""
    for follows_refused, temper in ((False, Temper.WAIT), (True, Temper.GIVE_UP)):
        server = server_with(f"PLAIN {mechanism}", b"+ ", b"+ " + REFUSAL, b"-ERR [AUTH] ana@example.org is wrong")

        error = await refusal(server, Token(TOKEN, follows_refused))

        assert type(error) is LoginRefusedError
        assert (str(error), error.temper) == ("login refused by the server (AUTH) (status 400)", temper)
        assert server.sessions[0].commands[-1] == heard


async def test_busy_maildrop_is_no_refused_token() -> None:
    """It is waited for, and the token is not to blame."""
    error = await refusal(server_with("XOAUTH2", b"+ ", b"-ERR [IN-USE] another session"), Token(TOKEN))

    assert type(error) is RefusedError
    assert (error.code, error.temper) == ("IN-USE", Temper.WAIT)


async def test_token_is_kept_from_a_server_that_takes_none() -> None:
    """PASS does not get it."""
    server = server_with("PLAIN LOGIN")

    error = await refusal(server, Token(TOKEN))

    assert "takes no tokens" in str(error)
    assert server.commands == ["CAPA"]


async def test_server_that_says_ok_without_a_proof_is_not_trusted() -> None:
    """With SCRAM the server has to know the password as well; nothing is deleted on one that does not."""
    async with (
        server_with("SCRAM-SHA-256", b"+ ", b"+OK", capabilities="UIDL") as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        with pytest.raises(TrustError, match="did not prove itself"):
            await connection.login("ana", "secret")
        await server.idle()

    assert "QUIT" not in server.commands


async def test_challenge_that_is_no_base64_is_broken_off() -> None:
    """It can be answered by nothing else."""
    server = server_with("SCRAM-SHA-1", b"+ ", b"+ !", b"-ERR cancelled", capabilities="UIDL")

    await refusal(server, "secret")

    assert server.sessions[0].commands[-1] == "*"


@pytest.mark.parametrize(
    ("capabilities", "mechanisms", "first"),
    [
        ("UIDL USER", "PLAIN SCRAM-SHA-256", "USER ana"),
        ("UIDL", "PLAIN SCRAM-SHA-256", "AUTH PLAIN"),
        ("UIDL", "", "USER ana"),
    ],
)
async def test_password_is_sent_as_servers_have_had_it_for_longest(
    server_tls: ssl.SSLContext, trust: ssl.SSLContext, capabilities: str, mechanisms: str, first: str
) -> None:
    """Over an encrypted line USER and PASS are as good as PLAIN, which is for servers that have dropped them."""
    server = server_with(mechanisms, b"+ ", b"+OK", capabilities=capabilities)
    encrypted = ScriptedServer(hook=server.hook, tls=server_tls, security=Security.TLS)
    async with encrypted, await Connection.open(encrypted.endpoint(trust), QUICK) as connection:
        await connection.login("ana", "secret")

    assert encrypted.sessions[0].commands[1] == first


async def test_password_is_not_sent_in_the_clear_where_scram_is_offered() -> None:
    """Who listens learns nothing to log in with; on this machine nobody does."""
    server = server_with("PLAIN SCRAM-SHA-1", b"-ERR no")
    async with server:
        elsewhere = replace(server.endpoint(), host=ANOTHER_MACHINE)
        async with await Connection.open(elsewhere, QUICK) as connection:
            with pytest.raises(RefusedError):
                await connection.login("ana", "secret")

    assert server.sessions[0].commands[1:] == ["AUTH SCRAM-SHA-1"]
    assert (await said(server_with("PLAIN SCRAM-SHA-1"), "secret"))[0] == "USER ana"


async def test_server_that_goes_on_asking_is_left() -> None:
    """Each of its questions would be given all the time of a command, and so it would never end."""
    async with (
        server_with("XOAUTH2", *[b"+ "] * 20) as server,
        await Connection.open(server.endpoint(), QUICK) as connection,
    ):
        with pytest.raises(ProtocolError, match="goes on asking"):
            await connection.login("ana", Token(TOKEN))
        await server.idle()

    assert len(server.sessions[0].commands) < 10
