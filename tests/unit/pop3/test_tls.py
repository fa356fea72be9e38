"""The protection of the line: what is asked for is had, or nothing is sent."""

import ssl

import pytest

from syncd.errors import ProtocolError, SyncdError, TrustError, UnreachableError
from syncd.pop3.connection import Connection
from syncd.pop3.endpoint import Endpoint, Security
from tests.unit.pop3.scripted import QUICK, Mail, Reply, ScriptedServer, Session


@pytest.mark.parametrize("security", [Security.TLS, Security.STLS])
async def test_encrypted_session_works(security: Security, server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    """Implicit TLS and STLS both end in a session, and capabilities are read on the encrypted line."""
    mails = [Mail("a", b"x\r\n")]
    async with (
        ScriptedServer(mails, security=security, tls=server_tls) as server,
        await Connection.open(server.endpoint(trust), QUICK) as connection,
    ):
        await connection.login("someone", "secret")
        assert len(await connection.listing()) == 1
        await connection.quit()

        before = ["STLS"] if security is Security.STLS else []
        assert server.commands == [*before, "CAPA", "USER", "PASS", "STAT", "LIST", "UIDL", "QUIT"]


@pytest.mark.parametrize("security", [Security.TLS, Security.STLS])
async def test_untrusted_certificate_ends_it_before_anything_secret(
    security: Security, server_tls: ssl.SSLContext
) -> None:
    """A certificate that does not verify is never overlooked."""
    async with ScriptedServer(security=security, tls=server_tls) as server:
        with pytest.raises(TrustError):
            await Connection.open(server.endpoint(ssl.create_default_context()), QUICK)

        assert [line for session in server.sessions for line in session.commands] in ([], ["STLS"])


async def test_refused_stls_is_not_worked_around(server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    """No encryption, no session."""

    def refuse(session: Session, line: str) -> Reply | None:
        return Reply(b"-ERR no\r\n") if line == "STLS" else None

    async with ScriptedServer(security=Security.STLS, tls=server_tls, hook=refuse) as server:
        with pytest.raises(TrustError, match="does not offer encryption"):
            await Connection.open(server.endpoint(trust), QUICK)

        assert server.commands == ["STLS"]


@pytest.mark.parametrize("injected", [b"+OK injected\r\n", b"+", b"+OK\r\nX-INJECTED\r\n.\r\n"])
async def test_what_was_sent_before_the_handshake_is_never_believed(
    injected: bytes, server_tls: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    """Octets between the answer to STLS and TLS end the session."""

    def inject(session: Session, line: str) -> Reply | None:
        return Reply(b"+OK begin\r\n" + injected) if line == "STLS" else None

    async with ScriptedServer(security=Security.STLS, tls=server_tls, hook=inject) as server:
        with pytest.raises(TrustError, match="between STLS and TLS"):
            await Connection.open(server.endpoint(trust), QUICK)

        assert server.commands == ["STLS"]


async def test_injection_with_the_greeting_is_out_of_step(server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    """An answer to STLS that came before STLS was sent is no answer to it."""
    greeting = b"+OK ready\r\n+OK begin\r\n+OK injected"
    async with ScriptedServer(security=Security.STLS, tls=server_tls, greeting=greeting) as server:
        with pytest.raises((TrustError, ProtocolError)):
            await Connection.open(server.endpoint(trust), QUICK)


async def test_tls_port_that_speaks_plainly_is_left(trust: ssl.SSLContext) -> None:
    """A handshake that is none ends at once."""
    async with ScriptedServer() as server:
        endpoint = Endpoint(server.endpoint().host, server.endpoint().port, Security.TLS, trust)
        with pytest.raises(UnreachableError):
            await Connection.open(endpoint, QUICK)


async def test_silent_tls_port_is_given_up(trust: ssl.SSLContext) -> None:
    """A handshake has a deadline."""
    from syncd.values import replace

    async with ScriptedServer(greeting=b"", eol=b"") as server:
        endpoint = Endpoint(server.endpoint().host, server.endpoint().port, Security.TLS, trust)
        with pytest.raises(SyncdError):
            await Connection.open(endpoint, replace(QUICK, connect_s=0.2))


def test_endpoint_without_context_cannot_be_built() -> None:
    """Encryption that cannot be had is found before a connection is made; and a context is never ignored."""
    with pytest.raises(ValueError, match="TLS context"):
        Endpoint("pop.example.net", 995)
    with pytest.raises(ValueError, match="TLS context"):
        Endpoint("pop.example.net", 110, Security.PLAIN, ssl.create_default_context())
