"""Nobody between us and the server decides how we talk: TLS, STARTTLS, PREAUTH, greetings, logins."""

import asyncio
import base64
import ssl
from pathlib import Path

import pytest

from syncd.errors import (
    ConnectionLostError,
    LoginRefusedError,
    PinError,
    ProtocolError,
    RefusedError,
    SyncdError,
    TooSlowError,
    TrustError,
    UnreachableError,
)
from syncd.imap.connection import ImapConnection
from syncd.imap.wire.endpoint import Endpoint
from syncd.imap.wire.limits import Limits
from tests.servers.certificates import fingerprint, write_certificates
from tests.servers.ports import free_ports
from tests.unit.imap.scripted import GREETING, Peer, Script, Served, serve


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    write_certificates(directory)
    return directory


@pytest.fixture
def server_tls(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    return context


async def greet(peer: Peer) -> None:
    await peer.send(GREETING)
    await peer.answer(b"CAPABILITY", b"* CAPABILITY IMAP4rev1\r\n")
    await peer.gone()


def implicit(served: Served, **settings: object) -> Endpoint:
    return Endpoint("127.0.0.1", served.port, "implicit", **settings)


def starttls(served: Served, certificates: Path) -> Endpoint:
    return Endpoint("127.0.0.1", served.port, "starttls", ca_file=certificates / "ca.pem")


async def refused(endpoint: Endpoint, kind: type[SyncdError], *, limits: Limits | None = None) -> SyncdError:
    with pytest.raises(kind) as error:
        await ImapConnection.open(endpoint, limits)
    assert type(error.value) is kind
    return error.value


async def test_verified_server_is_spoken_to(certificates: Path, server_tls: ssl.SSLContext) -> None:
    """A certificate of the configured authority with the right name opens the connection."""
    async with serve(greet, tls=server_tls) as served:
        connection = await ImapConnection.open(implicit(served, ca_file=certificates / "ca.pem"))
        assert connection.capabilities == {"IMAP4REV1"}
        await connection.aclose()


async def test_unknown_authority_is_refused(server_tls: ssl.SSLContext) -> None:
    """A certificate that the system does not trust is refused, and the error says why."""
    async with serve(greet, tls=server_tls) as served:
        assert "not trusted" in str(await refused(implicit(served), TrustError))


async def test_wrong_host_name_is_refused(certificates: Path, server_tls: ssl.SSLContext) -> None:
    """A good certificate for another name is refused."""
    async with serve(greet, tls=server_tls, host="127.0.0.2") as served:
        endpoint = Endpoint("127.0.0.2", served.port, "implicit", ca_file=certificates / "ca.pem")
        assert "not trusted" in str(await refused(endpoint, TrustError))


async def test_pin_alone_decides(certificates: Path, server_tls: ssl.SSLContext) -> None:
    """A pinned certificate needs no authority; another is refused, whoever signed it, before anything is said."""
    pin = fingerprint(certificates / "server.pem")

    async with serve(greet, tls=server_tls) as served:
        connection = await ImapConnection.open(implicit(served, pin_sha256=pin))
        await connection.aclose()
        ca_file = certificates / "ca.pem"
        error = await refused(implicit(served, pin_sha256="00" * 32, ca_file=ca_file), PinError)

    assert f"expected {'00' * 32}, came {pin};" in str(error)


async def test_unusable_certificate_file_is_a_matter_of_trust(tmp_path: Path) -> None:
    """Without the authority that was asked for, nothing is connected to."""
    endpoint = Endpoint("127.0.0.1", 1, "implicit", ca_file=tmp_path / "none.pem")

    assert "file of ca_file" in str(await refused(endpoint, TrustError))


async def test_plain_server_on_a_tls_port_is_unreachable() -> None:
    """A server that does not speak TLS is no secret to keep waiting for."""
    async with serve(greet) as served:
        await refused(implicit(served), UnreachableError)


async def test_server_that_ends_the_handshake_is_unreachable() -> None:
    """The error says that the port may be the wrong one, and not that there is no way to it."""

    async def script(peer: Peer) -> None:
        await peer.reader.read(65536)

    async with serve(script) as served:
        assert "does this port speak TLS?" in str(await refused(implicit(served), UnreachableError))


async def test_closed_port_is_unreachable() -> None:
    """A refused connection is told by its reason."""
    assert "connection refused" in str(await refused(Endpoint("127.0.0.1", free_ports(1)[0], "none"), UnreachableError))


async def test_server_that_never_greets_is_too_slow() -> None:
    """The greeting has a deadline, and the socket is closed after it."""
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.gone()
        closed.set()

    async with serve(script) as served:
        await refused(served.endpoint, TooSlowError, limits=Limits(connect_s=0.1))
        await asyncio.wait_for(closed.wait(), 5)


async def test_server_that_stalls_in_the_handshake_is_too_slow(certificates: Path) -> None:
    """TLS has a deadline as well."""

    async def script(peer: Peer) -> None:
        await peer.gone()

    async with serve(script) as served:
        await refused(implicit(served), TooSlowError, limits=Limits(connect_s=0.2))


async def test_starttls_forgets_what_was_said_in_the_clear(certificates: Path, server_tls: ssl.SSLContext) -> None:
    """Capabilities of before encryption do not count after it."""

    async def script(peer: Peer) -> None:
        await peer.send(b"* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=FAKE] ready\r\n")
        await peer.answer(b"STARTTLS", b"* 7 EXISTS\r\n")
        await peer.writer.start_tls(server_tls)
        await peer.answer(b"CAPABILITY", b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")
        await peer.gone()

    async with serve(script) as served:
        connection = await ImapConnection.open(starttls(served, certificates))
        assert connection.capabilities == {"IMAP4REV1", "AUTH=PLAIN"}
        assert not connection.has_events
        await connection.aclose()


def say_ok_and(more: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.send(b"* OK [CAPABILITY STARTTLS] ready\r\n")
        await peer.expect(b"STARTTLS")
        await peer.send(peer.tag + b" OK begin\r\n" + more)
        await peer.gone()

    return script


@pytest.mark.parametrize("more", [b"* CAPABILITY IMAP4rev1 AUTH=EVIL\r\n", b"* OK", b"X"])
async def test_data_injected_before_encryption_is_refused(certificates: Path, more: bytes) -> None:
    """Octets that follow the answer to STARTTLS in the clear end the connection."""
    async with serve(say_ok_and(more)) as served:
        with pytest.raises((ProtocolError, ConnectionLostError)):
            await ImapConnection.open(starttls(served, certificates))


@pytest.mark.parametrize(
    "greeting", [b"* PREAUTH welcome back\r\n", b"* OK [CAPABILITY IMAP4rev1] no encryption here\r\n"]
)
async def test_encryption_that_is_not_offered_is_not_gone_without(certificates: Path, greeting: bytes) -> None:
    """PREAUTH, or a list of capabilities without STARTTLS, cannot talk us out of encryption."""

    async def script(peer: Peer) -> None:
        await peer.send(greeting)
        await peer.gone()

    async with serve(script) as served:
        await refused(starttls(served, certificates), TrustError)


async def test_refused_starttls_is_not_gone_without(certificates: Path) -> None:
    """NO to STARTTLS ends it."""

    async def script(peer: Peer) -> None:
        await peer.send(b"* OK [CAPABILITY STARTTLS] ready\r\n")
        await peer.expect(b"STARTTLS")
        await peer.no()
        await peer.gone()

    async with serve(script) as served:
        await refused(starttls(served, certificates), TrustError)


async def test_starttls_verifies_the_server(server_tls: ssl.SSLContext) -> None:
    """The certificate counts in STARTTLS as it does in TLS from the start."""

    async def script(peer: Peer) -> None:
        await peer.send(b"* OK [CAPABILITY STARTTLS] ready\r\n")
        await peer.answer(b"STARTTLS")
        try:
            await peer.writer.start_tls(server_tls)
        except (ssl.SSLError, ConnectionError):
            pass

    async with serve(script) as served:
        await refused(Endpoint("127.0.0.1", served.port, "starttls"), TrustError)


async def test_plaintext_stays_on_this_machine() -> None:
    """Without encryption only this machine is spoken to, unless the configuration says so."""
    await refused(Endpoint("imap.example.org", 143, "none"), TrustError)


@pytest.mark.parametrize("greeting", [b"+ hello\r\n", b"A1 OK hello\r\n", b"* 3 EXISTS\r\n", b"HTTP/1.1 400 Bad\r\n"])
async def test_invalid_greeting_closes(greeting: bytes) -> None:
    """What does not greet as IMAP is not talked to."""
    got = b""

    async def script(peer: Peer) -> None:
        nonlocal got
        await peer.send(greeting)
        try:
            got = await peer.reader.read()
        except ConnectionError:
            pass

    async with serve(script) as served:
        await refused(served.endpoint, ProtocolError)
        await served.finish()

    assert got == b""


async def test_turned_away_at_the_door() -> None:
    """A BYE greeting is told with the server's reason."""

    async def script(peer: Peer) -> None:
        await peer.send(b"* BYE too many connections\x07\r\n")
        await peer.gone()

    async with serve(script) as served:
        error = await refused(served.endpoint, ConnectionLostError)

    assert str(error).endswith('"too many connections?"')


async def test_preauth_needs_no_login() -> None:
    """A server that knows us by other means is used as it is."""

    async def script(peer: Peer) -> None:
        await peer.send(b"* PREAUTH hello\r\n")
        await peer.answer(b"CAPABILITY", b"* CAPABILITY IMAP4rev1\r\n")
        await peer.answer(b"NOOP")

    async with serve(script) as served:
        connection = await ImapConnection.open(served.endpoint)
        await connection.login("ana", "secret")
        await connection.noop()
        await connection.aclose()
        await served.finish()


async def log_in(
    capabilities: bytes, script: Script, username: str = "ana", password: str | None = "secret"
) -> frozenset[str]:
    """Log in to a server with these capabilities and return those of after login."""

    async def whole(peer: Peer) -> None:
        await peer.send(b"* OK [CAPABILITY " + capabilities + b"] ready\r\n")
        await script(peer)

    async with serve(whole) as served:
        connection = await ImapConnection.open(served.endpoint)
        try:
            await connection.login(username, password)
            return connection.capabilities
        finally:
            await connection.aclose()
            await served.finish()


async def test_plain_with_initial_response() -> None:
    """SASL-IR saves a round trip; capabilities are replaced after login, whatever the OK said."""

    async def script(peer: Peer) -> None:
        command = await peer.expect(b"AUTHENTICATE PLAIN ")
        assert base64.b64decode(command.split()[2]) == b"\0ana\0s\xc3\xa9cret"
        await peer.ok(text=b"[CAPABILITY IMAP4rev1 x] Logged in")
        await peer.answer(b"CAPABILITY", b"* CAPABILITY imap4rev1 Idle\r\n")

    assert await log_in(b"IMAP4rev1 SASL-IR AUTH=PLAIN", script, password="sécret") == {"IMAP4REV1", "IDLE"}


async def test_plain_with_continuation() -> None:
    """Without SASL-IR the secret is sent when asked for."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"AUTHENTICATE PLAIN")
        await peer.send(b"+ \r\n")
        assert base64.b64decode(await peer.line()) == b"\0ana\0secret"
        await peer.ok()
        await peer.answer(b"CAPABILITY", b"* CAPABILITY IMAP4rev1\r\n")

    assert await log_in(b"AUTH=PLAIN", script) == {"IMAP4REV1"}


async def log_in_by_certificate(capabilities: bytes, script: Script) -> frozenset[str]:
    return await log_in(capabilities, script, password=None)


async def test_certificate_alone_says_the_name_only() -> None:
    """EXTERNAL: TLS has shown the proof; the server is told who is meant, and PLAIN is not used."""

    async def script(peer: Peer) -> None:
        command = await peer.expect(b"AUTHENTICATE EXTERNAL ")
        assert base64.b64decode(command.split()[2]) == b"ana"
        await peer.ok()
        await peer.answer(b"CAPABILITY", b"* CAPABILITY IMAP4rev1\r\n")

    assert await log_in_by_certificate(b"SASL-IR AUTH=PLAIN AUTH=EXTERNAL", script) == {"IMAP4REV1"}


async def test_server_that_takes_no_certificate_is_told_nothing() -> None:
    """Neither an empty password nor the name."""

    async def script(peer: Peer) -> None:
        assert await peer.reader.read() == b""

    with pytest.raises(LoginRefusedError, match="EXTERNAL"):
        await log_in_by_certificate(b"IMAP4rev1 AUTH=PLAIN", script)


async def test_unexpected_challenge_is_broken_off() -> None:
    """PLAIN has nothing more to say; `*` ends the exchange instead of hanging in it."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"AUTHENTICATE PLAIN ")
        await peer.send(b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n")
        tag = peer.tag
        assert await peer.line() == b"*"
        await peer.send(tag + b" BAD cancelled\r\n")

    with pytest.raises(LoginRefusedError):
        await log_in(b"SASL-IR AUTH=PLAIN", script)


async def test_login_command_quotes_what_it_is_given() -> None:
    """No credential ends the command line or begins another."""

    async def script(peer: Peer) -> None:
        assert await peer.command() == b'LOGIN "a\\"\\\\ na" {20}\r\nx\r\nA9 DELETE INBOX\r\n'
        await peer.ok()
        await peer.answer(b"CAPABILITY", b"* CAPABILITY IMAP4rev1\r\n")

    await log_in(b"IMAP4rev1", script, username='a"\\ na', password="x\r\nA9 DELETE INBOX\r\n")


async def test_logindisabled_is_respected() -> None:
    """Where LOGIN is forbidden the password stays with us."""

    async def script(peer: Peer) -> None:
        assert await peer.reader.read() == b""

    with pytest.raises(LoginRefusedError):
        await log_in(b"IMAP4rev1 LOGINDISABLED", script)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"[AUTHENTICATIONFAILED] no ana@example.org here", LoginRefusedError),
        (b"sorry", LoginRefusedError),
        (b"[UNAVAILABLE] later", RefusedError),
        (b"[LIMIT] too many", RefusedError),
    ],
)
async def test_refused_login_says_whether_waiting_helps(text: bytes, kind: type[RefusedError]) -> None:
    """A wrong password is final, a busy server is not; the error holds no address and no secret."""

    async def script(peer: Peer) -> None:
        await peer.expect(b"LOGIN")
        await peer.no(text)

    with pytest.raises(RefusedError) as error:
        await log_in(b"IMAP4rev1", script)

    assert type(error.value) is kind
    assert "@" not in str(error.value)
    assert "secret" not in repr(error.value)


@pytest.mark.parametrize("host", ["imap..example", f"{'a' * 64}.example"])
async def test_what_is_no_host_name_is_a_server_that_cannot_be_reached(host: str) -> None:
    """It is told as such, and not as an error that nobody expected."""
    error = await refused(Endpoint(host, 993), UnreachableError)

    assert str(error) == "the server cannot be reached: not a name of a server"
